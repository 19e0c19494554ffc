"""The Mixture-of-Experts feed-forward layer: a router, and what its experts make of the tokens."""

from collections.abc import Callable

from flax import nnx
from jaxtyping import Array, Bool, Float, Key

from imp_model import expert_parallel, sharding
from imp_model.config import ModelConfig
from imp_model.init import Init
from imp_model.kernels.experts import fused_experts
from imp_model.kernels.gathered import gathered_experts
from imp_model.router import Router


class MoE(nnx.Module):
    """[b, n, d] -> [b, n, d] and the router's metrics; a token no expert took yields zero.

    Both routers have an equal static capacity, so neither one-hot nor ragged products are needed.
    Over a mesh each device routes its own examples, and has the products with its own experts.
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
        shape, fused = x.shape, self.config.experts == "pallas"
        size = self.config.group_size(*shape[:2])
        # Drawn for the whole batch, so that it is the same however the batch is split.
        noise = self.router.noise(key, shape[0] * shape[1] // size, size)
        up, down = self.up[...].astype(x.dtype), self.down[...].astype(x.dtype)
        if sharding.current() is None:
            experts = fused_experts if fused else gathered_experts
            return routed(experts, self.router, up, down, x, mask, noise, size)
        if fused:
            raise ValueError("experts='pallas' is for one device; use experts='xla' over a mesh")
        expert_parallel.check_groups(self.config, shape[1], size)
        return expert_parallel.over_mesh(routed, self.router, up, down, x, mask, noise, size)


def routed(
    experts: Callable[..., Float[Array, "g m d"]],
    router: Router,
    up: Float[Array, "e_own d f_own"],
    down: Float[Array, "e_own f_own d"],
    x: Float[Array, "b n d"],
    mask: Bool[Array, "b n"] | None,
    noise: Float[Array, "g e m"] | None,
    size: int,
) -> tuple[Float[Array, "b n d"], dict[str, Array]]:
    """The layer of one device, in groups of `size` tokens."""
    shape = x.shape
    x = x.reshape(-1, size, shape[-1])
    mask = None if mask is None else mask.reshape(-1, size)
    token, gates, metrics = router.route(x, mask, noise)
    return experts(x, token, gates, up, down).reshape(shape), metrics
