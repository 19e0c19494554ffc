"""Dispatch, expert feed-forward network and combine as two Triton kernels.

The first takes a tile of an expert's slots, of all groups: it reads their tokens where they lie,
keeps the float32 sum over f in registers and writes gate times output, so that neither taken rows
nor the hidden layer reach memory. The second sums a token's slots, expert by expert: that needs a
table of where each token went, but no atomic additions, whose order is chance.
"""

import functools
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as pltriton
from jaxtyping import Array, Float, Int

# Pallas gives its references no public type.
Ref: TypeAlias = Any
# Half of a multiprocessor's registers, for the sums; the rest is for what is multiplied.
_REGISTER_BYTES = 128 * 2**10
# Triton's blocks are powers of two, and its products at least 16 on a side.
_LEAST = 16
_MOST_SLOTS = 64


def fused(
    x: Float[Array, "g n d"],
    token: Int[Array, "g e c"],
    gates: Float[Array, "g e c"],
    up: Float[Array, "e d f"],
    down: Float[Array, "e f d"],
    *,
    interpret: bool,
) -> Float[Array, "g n d"]:
    """An expert's slots of a group name different tokens.

    Raises ValueError where d or f is no multiple of 16, or d too wide for the registers.
    """
    g, n, d = x.shape
    e, _, f = up.shape
    c = token.shape[2]
    size = tile(d, f)
    slots = -(-g * c // size) * size

    def by_expert(table: Array) -> Array:
        """[g, e, c] -> [e, slots]; what pads is token 0 with no gate."""
        table = table.transpose(1, 0, 2).reshape(e, g * c)
        return jnp.pad(table, ((0, 0), (0, slots - g * c)))

    group = jnp.arange(g, dtype=jnp.int32)[:, None, None]
    of_expert = [
        pl.BlockSpec((None, size), lambda i, j: (j, i)),
        pl.BlockSpec((None, size), lambda i, j: (j, i)),
        pl.BlockSpec((None, d, f), lambda i, j: (j, 0, 0)),
        pl.BlockSpec((None, f, d), lambda i, j: (j, 0, 0)),
    ]
    out = pl.pallas_call(
        functools.partial(_feed_forward, wide=_block(d, 128), deep=_block(f, 64)),
        grid=(slots // size, e),
        in_specs=[pl.BlockSpec((g * n, d), lambda i, j: (0, 0)), *of_expert],
        out_specs=pl.BlockSpec((None, size, d), lambda i, j: (j, i, 0)),
        out_shape=jax.ShapeDtypeStruct((e, slots, d), x.dtype),
        compiler_params=pltriton.CompilerParams(num_warps=8, num_stages=2),
        interpret=interpret,
        name="experts",
    )(x.reshape(g * n, d), by_expert(token + n * group), by_expert(gates), up, down)

    # The slot where expert j holds a token: [g * n, e], -1 where it does not.
    expert = jnp.arange(e, dtype=jnp.int32)[:, None]
    slot = expert * slots + c * group + jnp.arange(c, dtype=jnp.int32)
    held = jnp.full((g, n, e), -1, jnp.int32).at[group, token, expert].set(slot)
    span, few = _block(d, 128), _block(g * n, 32)
    combined = pl.pallas_call(
        _combine,
        grid=(g * n // few, d // span),
        in_specs=[
            pl.BlockSpec((e * slots, span), lambda i, j: (0, j)),
            pl.BlockSpec((few, e), lambda i, j: (i, 0)),
        ],
        out_specs=pl.BlockSpec((few, span), lambda i, j: (i, j)),
        out_shape=jax.ShapeDtypeStruct((g * n, d), x.dtype),
        compiler_params=pltriton.CompilerParams(num_warps=4, num_stages=1),
        interpret=interpret,
        name="combine",
    )(out.reshape(e * slots, d), held.reshape(g * n, e))
    return combined.reshape(g, n, d)


def tile(d: int, f: int) -> int:
    """Slots of a tile: as many as leave the float32 sums in registers, 64 at most."""
    for name, dim in (("width", d), ("mlp", f)):
        if dim % _LEAST:
            below = dim // _LEAST * _LEAST
            fits = [fit for fit in (below, below + _LEAST) if fit]
            raise ValueError(
                f"the fused experts need a {name} that is a multiple of {_LEAST} on a GPU, not "
                f"{dim}: {' or '.join(map(str, fits))} would be, or experts='xla'"
            )
    size = min(_MOST_SLOTS, 2 ** ((_REGISTER_BYTES // (4 * d)).bit_length() - 1))
    if size < _LEAST:
        raise ValueError(
            f"the fused experts hold {_LEAST} sums of width {d} in {_REGISTER_BYTES // 2**10} KiB "
            f"of registers; a width of {_REGISTER_BYTES // (4 * _LEAST)} fits, or experts='xla'"
        )
    return size


def _block(dim: int, most: int) -> int:
    """The largest power of two that divides `dim`, up to `most`."""
    return min(dim & -dim, most)


def _feed_forward(
    x: Ref, token: Ref, gates: Ref, up: Ref, down: Ref, out: Ref, *, wide: int, deep: int
) -> None:
    d, f = up.shape
    rows = token[...]
    spans = [pl.ds(start, wide) for start in range(0, d, wide)]

    def add_columns(k: Array, sums: tuple[Array, ...]) -> tuple[Array, ...]:
        columns = pl.ds(k * deep, deep)

        def add_product(i: Array, hidden: Array) -> Array:
            span = pl.ds(i * wide, wide)
            return hidden + jnp.dot(
                x[rows, span], up[span, columns], preferred_element_type=jnp.float32
            )

        hidden = jnp.zeros((rows.shape[0], deep), jnp.float32)
        hidden = jax.lax.fori_loop(0, d // wide, add_product, hidden)
        hidden = jax.nn.gelu(hidden, approximate=True).astype(x.dtype)
        return tuple(
            total + jnp.dot(hidden, down[columns, span], preferred_element_type=jnp.float32)
            for total, span in zip(sums, spans)
        )

    zero = jnp.zeros((rows.shape[0], wide), jnp.float32)
    sums = jax.lax.fori_loop(0, f // deep, add_columns, (zero,) * len(spans))
    for total, span in zip(sums, spans):
        out[:, span] = (total * gates[...][:, None]).astype(out.dtype)


def _combine(slots: Ref, held: Ref, out: Ref) -> None:
    columns = jnp.arange(out.shape[1])[None, :]

    def add_expert(expert: Array, total: Array) -> Array:
        row = held[:, expert][:, None]
        mask = jnp.broadcast_to(row >= 0, out.shape)
        rows = pltriton.load(slots.at[jnp.maximum(row, 0), columns], mask=mask, other=0.0)
        return total + rows.astype(jnp.float32)

    total = jnp.zeros(out.shape, jnp.float32)
    out[...] = jax.lax.fori_loop(0, held.shape[1], add_expert, total).astype(out.dtype)
