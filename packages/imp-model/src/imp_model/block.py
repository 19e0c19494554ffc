"""Pre-LayerNorm Transformer blocks, dense and MoE."""

from flax import nnx
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Array, Bool, Float, Key

from imp_model import sharding
from imp_model.attention import Attention
from imp_model.config import ModelConfig
from imp_model.feed_forward import FeedForward
from imp_model.init import Init
from imp_model.layers import LayerNorm
from imp_model.moe import MoE


class Block(nnx.Module):
    """One layer; `moe` picks its feed-forward network."""

    def __init__(self, config: ModelConfig, init: Init, *, moe: bool) -> None:
        self.attention_norm = LayerNorm(config.width, init)
        self.attention = Attention(config, init)
        self.ffn_norm = LayerNorm(config.width, init)
        self.ffn = (MoE if moe else FeedForward)(config, init)

    def __call__(
        self,
        x: Float[Array, "b n d"],
        mask: Bool[Array, "b n"] | None,
        key: Key[Array, ""] | None = None,
    ) -> tuple[Float[Array, "b n d"], dict[str, Array]]:
        y = self.attention(self.attention_norm(x), mask)
        x = sharding.batched(x + checkpoint_name(y, "attention_out"))
        y = self.ffn_norm(x)
        if isinstance(self.ffn, MoE):
            y, metrics = self.ffn(y, mask, key)
        else:
            y, metrics = self.ffn(y), {}
        return sharding.batched(x + y), metrics
