"""The dense feed-forward network: tanh-GELU between two bias-free products."""

from flax import nnx
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Array, Float

from imp_model.config import ModelConfig
from imp_model.init import Init
from imp_model.layers import Linear, gelu


class FeedForward(nnx.Module):
    """[b, n, d] -> [b, n, d]."""

    def __init__(self, config: ModelConfig, init: Init) -> None:
        self.up = Linear(config.width, config.mlp, init, axes=("embed", "mlp"))
        self.down = Linear(config.mlp, config.width, init, axes=("mlp", "embed"))

    def __call__(self, x: Float[Array, "b n d"]) -> Float[Array, "b n d"]:
        return self.down(gelu(checkpoint_name(self.up(x), "ffn_up")))
