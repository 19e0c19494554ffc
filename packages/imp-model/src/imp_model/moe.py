"""The Mixture-of-Experts feed-forward layer: gather, expert-major products, combine."""

from collections.abc import Callable

import jax.numpy as jnp
from flax import nnx
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Array, Bool, Float, Key

from imp_model import expert_parallel, sharding
from imp_model.config import ModelConfig
from imp_model.init import Init
from imp_model.layers import gelu
from imp_model.router import Router


class MoE(nnx.Module):
    """[b, n, d] -> [b, n, d] and the router's metrics; a token no expert took yields zero.

    Both routers have an equal static capacity, so neither one-hot nor ragged products are needed.
    The products run expert-major, [e, g*c, d]: one large matrix product per expert. Over a mesh
    each device does this with its own examples, and the products with its own experts.
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
        # Drawn for the whole batch, so that it is the same however the batch is split.
        noise = self.router.noise(key, shape[0] * shape[1] // size, size)
        up, down = self.up[...].astype(x.dtype), self.down[...].astype(x.dtype)
        if sharding.current() is None:
            return routed(self.router, up, down, x, mask, noise, size)
        expert_parallel.check_groups(self.config, shape[1], size)
        return expert_parallel.over_mesh(routed, self.router, up, down, x, mask, noise, size)


def routed(
    router: Router,
    up: Float[Array, "e_own d f_own"],
    down: Float[Array, "e_own f_own d"],
    x: Float[Array, "b n d"],
    mask: Bool[Array, "b n"] | None,
    noise: Float[Array, "g e m"] | None,
    size: int,
    dispatch: Callable[[Array], Array] = lambda taken: taken,
    collect: Callable[[Array], Array] = lambda out: out,
) -> tuple[Float[Array, "b n d"], dict[str, Array]]:
    """The layer of one device, in groups of `size` tokens.

    `dispatch` and `collect` bring tokens [e, g*c, d] to their experts and back.
    """
    shape = x.shape
    x = x.reshape(-1, size, shape[-1])
    mask = None if mask is None else mask.reshape(-1, size)
    token, gates, metrics = router.route(x, mask, noise)
    g, n, d = x.shape
    e, c = token.shape[1:]
    # Rows of the flattened [g*n, d] tokens, expert-major: [e, g*c].
    rows = (token + n * jnp.arange(g)[:, None, None]).transpose(1, 0, 2).reshape(e, g * c)
    taken = dispatch(x.reshape(g * n, d)[rows])
    hidden = checkpoint_name(jnp.einsum("esd,edf->esf", taken, up), "expert_up")
    out = collect(jnp.einsum("esf,efd->esd", gelu(hidden), down))
    # Named once it is back: a device that kept it before would exchange again for backward.
    out = checkpoint_name(out, "expert_out")
    weight = gates.transpose(1, 0, 2).reshape(e, g * c, 1).astype(x.dtype)
    combined = (
        jnp.zeros((g * n, d), x.dtype).at[rows.reshape(-1)].add((out * weight).reshape(-1, d))
    )
    return combined.reshape(shape), metrics
