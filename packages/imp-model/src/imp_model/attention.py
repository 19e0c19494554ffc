"""Self-attention with QK-LayerNorm (needed for the stability of MoE under contrastive losses)."""

from flax import nnx
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Array, Bool, Float

from imp_model.config import ModelConfig
from imp_model.init import Init
from imp_model.kernels.attention import attend
from imp_model.layers import LayerNorm, Linear


class Attention(nnx.Module):
    """[b, n, d] -> [b, n, d]; keys outside `mask` are never attended to."""

    def __init__(self, config: ModelConfig, init: Init) -> None:
        d, self.num_heads = config.width, config.num_heads
        self.implementation = config.attention
        self.qkv = Linear(d, 3 * d, init, axes=("embed", "heads"))
        self.q_norm = LayerNorm(d // config.num_heads, init, axis="head_dim")
        self.k_norm = LayerNorm(d // config.num_heads, init, axis="head_dim")
        self.out = Linear(d, d, init, axes=("heads", "embed"))

    def __call__(
        self, x: Float[Array, "b n d"], mask: Bool[Array, "b n"] | None
    ) -> Float[Array, "b n d"]:
        b, n, d = x.shape
        qkv = checkpoint_name(self.qkv(x), "qkv").reshape(
            b, n, 3, self.num_heads, d // self.num_heads
        )
        q, k, v = qkv[:, :, 0], qkv[:, :, 1], qkv[:, :, 2]
        q, k = self.q_norm(q), self.k_norm(k)
        y = attend(q, k, v, mask, implementation=self.implementation)
        return self.out(y.reshape(b, n, d))
