"""DropToken (VATT): a random subset of each example's tokens, taken before the encoder."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, Key


def num_kept(num_tokens: int, drop: float) -> int:
    """How many of `num_tokens` survive a drop ratio in [0, 1): at least one."""
    if not 0 <= drop < 1:
        raise ValueError(f"drop ratio {drop} must lie in [0, 1); 0.75 keeps a quarter")
    return max(1, round(num_tokens * (1 - drop)))


def kept_indices(
    key: Key[Array, ""], batch: int, num_tokens: int, drop: float
) -> Int[Array, "b s"]:
    """Sorted indices of the kept tokens, drawn for each example on its own."""
    noise = jax.random.uniform(key, (batch, num_tokens))
    _, index = jax.lax.top_k(noise, num_kept(num_tokens, drop))
    return jnp.sort(index, axis=-1)
