"""The Mixture-of-Experts feed-forward layer: a router, and what its experts make of the tokens."""

from flax import nnx
from jaxtyping import Array, Bool, Float, Key

from imp_model.config import ModelConfig
from imp_model.init import Init
from imp_model.kernels.experts import fused_experts
from imp_model.kernels.gathered import gathered_experts
from imp_model.router import Router


class MoE(nnx.Module):
    """[b, n, d] -> [b, n, d] and the router's metrics; a token no expert took yields zero.

    Both routers have an equal static capacity, so neither one-hot nor ragged products are needed.
    """

    def __init__(self, config: ModelConfig, init: Init) -> None:
        self.config = config
        d, f, e = config.width, config.mlp, config.num_experts
        self.router = Router(config, init)
        self.up = init.fan_in((e, d, f), ("expert", "embed", "mlp"))
        self.down = init.fan_in((e, f, d), ("expert", "mlp", "embed"))

    def __call__(
        self,
        x: Float[Array, "b n d"],
        mask: Bool[Array, "b n"] | None,
        key: Key[Array, ""] | None = None,
    ) -> tuple[Float[Array, "b n d"], dict[str, Array]]:
        shape = x.shape
        size = self.config.group_size(*shape[:2])
        x = x.reshape(-1, size, shape[-1])
        mask = None if mask is None else mask.reshape(-1, size)
        token, gates, metrics = self.router(x, mask, key)
        experts = fused_experts if self.config.experts == "pallas" else gathered_experts
        y = experts(x, token, gates, self.up[...].astype(x.dtype), self.down[...].astype(x.dtype))
        return y.reshape(shape), metrics
