"""Random inputs of the layers that have kernels."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from imp_model.config import ModelConfig


class Experts(NamedTuple):
    """What `gathered_experts` and `fused_experts` take."""

    x: jax.Array
    token: jax.Array
    gates: jax.Array
    up: jax.Array
    down: jax.Array


def experts(
    config: ModelConfig, groups: int, tokens: int, dtype: str, *, empty: float = 0.0, seed: int = 0
) -> Experts:
    """Each expert's slots hold different tokens; a share of them may be `empty`."""
    d, f, e = config.width, config.mlp, config.num_experts
    c = config.capacity(tokens)
    rng = np.random.default_rng(seed)
    order = rng.permuted(np.broadcast_to(np.arange(tokens), (groups, e, tokens)), axis=2)
    live = rng.random((groups, e, c)) >= empty
    gates = (0.1 + 0.9 * rng.random((groups, e, c))) * live

    def normal(*shape: int, std: float = 1.0) -> jax.Array:
        return jnp.asarray(rng.standard_normal(shape, np.float32) * std, dtype)

    return Experts(
        x=normal(groups, tokens, d),
        token=jnp.asarray(order[..., :c], jnp.int32),
        gates=jnp.asarray(gates, jnp.float32),
        up=normal(e, d, f, std=d**-0.5),
        down=normal(e, f, d, std=f**-0.5),
    )


def attention(
    config: ModelConfig, batch: int, tokens: int, dtype: str, *, seed: int = 0
) -> tuple[jax.Array, ...]:
    """Queries, keys and values; the scores' spread is one."""
    shape = (batch, tokens, config.num_heads, config.width // config.num_heads)
    rng = np.random.default_rng(seed)
    return tuple(jnp.asarray(rng.standard_normal(shape, np.float32), dtype) for _ in range(3))
