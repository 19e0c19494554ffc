"""The MoE layer as GShard and V-MoE write it: dispatch and combine by one-hot products.

Slow (its two products cost tokens / (4 * width) of the experts' FLOPs), obvious, differentiable:
what `imp_model.moe` is held to.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


def one_hot_moe(
    x: Float[Array, "g n d"],
    index: Int[Array, "g e c"],
    gates: Float[Array, "g e c"],
    up: Float[Array, "e d f"],
    down: Float[Array, "e f d"],
) -> Float[Array, "g n d"]:
    """Each token's sum over the slots that hold it, gate times expert."""
    slots = jax.nn.one_hot(index, x.shape[1], dtype=x.dtype)
    dispatch = slots * (gates > 0)[..., None]
    combine = slots * gates[..., None]
    taken = jnp.einsum("gecn,gnd->gecd", dispatch, x)
    hidden = jax.nn.gelu(jnp.einsum("gecd,edf->gecf", taken, up), approximate=True)
    return jnp.einsum("gecn,gecd->gnd", combine, jnp.einsum("gecf,efd->gecd", hidden, down))
