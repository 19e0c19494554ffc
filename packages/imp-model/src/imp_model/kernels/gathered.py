"""The experts as XLA runs them best: gather, expert-major products, scatter."""

from collections.abc import Callable

import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Array, Float, Int

from imp_model.layers import gelu


def gathered_experts(
    x: Float[Array, "g n d"],
    token: Int[Array, "g e c"],
    gates: Float[Array, "g e c"],
    up: Float[Array, "e_own d f_own"],
    down: Float[Array, "e_own f_own d"],
    dispatch: Callable[[Array], Array] = lambda taken: taken,
    collect: Callable[[Array], Array] = lambda out: out,
) -> Float[Array, "g n d"]:
    """Each token's sum over the slots that hold it, gate times expert.

    The products run expert-major, [e, g*c, d]: one large matrix product per expert.
    `dispatch` and `collect` bring tokens [e, g*c, d] to their experts and back.
    """
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
    return combined.reshape(g, n, d)
