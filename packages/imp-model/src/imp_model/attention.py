"""Self-attention with QK-LayerNorm (needed for the stability of MoE under contrastive losses)."""

import jax.numpy as jnp
from flax import nnx
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Array, Bool, Float

from imp_model import sharding
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
        self.normalises = config.qk_norm
        if config.qk_norm:
            self.q_norm = LayerNorm(d // config.num_heads, init)
            self.k_norm = LayerNorm(d // config.num_heads, init)
        self.out = Linear(d, d, init, axes=("heads", "embed"))

    def __call__(
        self, x: Float[Array, "b n d"], mask: Bool[Array, "b n"] | None
    ) -> Float[Array, "b n d"]:
        b, n, d = x.shape
        qkv = checkpoint_name(self._project(x), "qkv").reshape(
            b, n, 3, self.num_heads, d // self.num_heads
        )
        q, k, v = qkv[:, :, 0], qkv[:, :, 1], qkv[:, :, 2]
        if self.normalises:
            q, k = self.q_norm(q), self.k_norm(k)
        y = attend(q, k, v, mask, implementation=self.implementation)
        return self.out(y.reshape(b, n, d))

    def _project(self, x: Float[Array, "b n d"]) -> Float[Array, "b n ..."]:
        """Queries, keys and values in a row; apart where heads lie on several devices."""
        if sharding.axis_size("model") == 1:
            return self.qkv(x)
        # At rest a device has a third of the columns' row, not a share of each of the three: the
        # kernel is laid out anew, which moves less than its product would.
        d = x.shape[-1]
        kernel = sharding.at_use(self.qkv.kernel, x.dtype).reshape(d, 3, d)
        return jnp.einsum("bnd,dto->bnto", x, sharding.constrain(kernel, (None, None, "heads")))
