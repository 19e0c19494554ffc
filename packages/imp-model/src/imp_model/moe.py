"""The Mixture-of-Experts feed-forward layer: gather, expert-major products, combine."""

import jax.numpy as jnp
from flax import nnx
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Array, Bool, Float, Key

from imp_model.config import ModelConfig
from imp_model.init import Init
from imp_model.layers import gelu
from imp_model.router import Router


class MoE(nnx.Module):
    """[b, n, d] -> [b, n, d] and the router's metrics; a token no expert took yields zero.

    Both routers have an equal static capacity, so neither one-hot nor ragged products are needed.
    The products run expert-major, [e, g*c, d]: one large matrix product per expert.
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
        g, n, d = x.shape
        e, c = token.shape[1:]
        # Rows of the flattened [g*n, d] tokens, expert-major: [e, g*c].
        rows = (token + n * jnp.arange(g)[:, None, None]).transpose(1, 0, 2).reshape(e, g * c)
        taken = x.reshape(g * n, d)[rows]
        hidden = jnp.einsum("esd,edf->esf", taken, self.up[...].astype(x.dtype))
        hidden = checkpoint_name(hidden, "expert_up")
        out = jnp.einsum("esf,efd->esd", gelu(hidden), self.down[...].astype(x.dtype))
        out = checkpoint_name(out, "expert_out")
        weight = gates.transpose(1, 0, 2).reshape(e, g * c, 1).astype(x.dtype)
        combined = (
            jnp.zeros((g * n, d), x.dtype).at[rows.reshape(-1)].add((out * weight).reshape(-1, d))
        )
        return combined.reshape(shape), metrics
