"""Dispatch, expert feed-forward network and combine as one TPU kernel.

Taken rows, hidden layer and the experts' outputs never leave VMEM. The grid is (block of groups,
expert, tile of f). A block's tokens and the float32 sum of its outputs stay for all experts, a
taken block [groups * c, d] for all tiles of f, and the weights stream past. Gather and scatter are
one-hot products on the MXU: n / (2 f) of an expert's own FLOPs each, and exact.

As every expert's weights are read once for a block, the kernel is bound by memory until a block has
some 230 slots an expert (TPU v4: 275 TFLOP/s to 1.2 TB/s). VMEM decides how many groups that is.
"""

import functools
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu
from jaxtyping import Array, Float, Int

# Pallas gives its references no public type.
Ref: TypeAlias = Any
# What Mosaic allots by default, of TPU v4's 16 MiB too, less what it needs for itself.
VMEM_BYTES = 15 * 2**20
_LANES = 128
# Two bfloat16 or one float32 share a sublane's word.
_SUBLANES = 16
_ROWS_WANTED = 256


def fused(
    x: Float[Array, "g n d"],
    token: Int[Array, "g e c"],
    gates: Float[Array, "g e c"],
    up: Float[Array, "e d f"],
    down: Float[Array, "e f d"],
    *,
    interpret: bool,
) -> Float[Array, "g n d"]:
    """Raises ValueError where one group doesn't fit VMEM."""
    g, n, d = x.shape
    e, _, f = up.shape
    x = _padded(x, 1, _SUBLANES)
    # A slot that pads holds no token: its one-hot column is zero, and so is its gate.
    token = _padded(token.astype(jnp.int32), 2, _SUBLANES, fill=-1)
    gates = _padded(gates, 2, _SUBLANES)
    padded, c = x.shape[1], token.shape[2]
    groups, tile = blocks(g, padded, d, f, c, x.dtype.itemsize)
    rows = groups * c
    once = pl.Buffered(1)
    return pl.pallas_call(
        functools.partial(_kernel, groups=groups, c=c),
        grid=(g // groups, e, f // tile),
        in_specs=[
            pl.BlockSpec((groups, padded, d), lambda i, j, k: (i, 0, 0), pipeline_mode=once),
            pl.BlockSpec((groups, 1, 1, c), lambda i, j, k: (i, j, 0, 0)),
            pl.BlockSpec((groups, 1, c, 1), lambda i, j, k: (i, j, 0, 0)),
            pl.BlockSpec((1, d, tile), lambda i, j, k: (j, 0, k)),
            pl.BlockSpec((1, tile, d), lambda i, j, k: (j, k, 0)),
        ],
        out_specs=pl.BlockSpec((groups, padded, d), lambda i, j, k: (i, 0, 0), pipeline_mode=once),
        out_shape=jax.ShapeDtypeStruct((g, padded, d), x.dtype),
        scratch_shapes=[
            pltpu.VMEM((rows, d), x.dtype),
            pltpu.VMEM((rows, d), jnp.float32),
            pltpu.VMEM((groups, padded, d), jnp.float32),
        ],
        compiler_params=pltpu.CompilerParams(
            dimension_semantics=("parallel", "arbitrary", "arbitrary"),
        ),
        interpret=interpret,
        name="experts",
    )(x, token[:, :, None, :], gates[..., None], up, down)[:, :n]


def blocks(g: int, n: int, d: int, f: int, c: int, itemsize: int) -> tuple[int, int]:
    """Groups a block and columns of f a tile: of what fits VMEM, the fewest reads of the weights,
    up to 256 slots an expert, then the widest tiles. Raises ValueError if nothing fits."""
    tiles = [t for t in range(_LANES, f + 1, _LANES) if f % t == 0] or [f]
    fits = [
        (groups, tile)
        for groups in range(1, g + 1)
        if g % groups == 0
        for tile in tiles
        if _fits(groups, tile, n, d, c, itemsize)
    ]
    if not fits:
        need = vmem_bytes(1, tiles[0], n, d, c, itemsize)
        fewer = range(n - _SUBLANES, 0, -_SUBLANES)
        most = next((m for m in fewer if _fits(1, tiles[0], m, d, -(-c * m // n), itemsize)), 0)
        advice = f"groups of {most} tokens would fit, or " if most else ""
        raise ValueError(
            f"the fused experts need {need / 2**20:.1f} MiB of VMEM for a routing group of {n} "
            f"tokens of width {d}, and have {VMEM_BYTES / 2**20:.0f}: {advice}experts='xla'"
        )
    return max(fits, key=lambda fit: (min(fit[0] * c, _ROWS_WANTED), fit[1]))


def _fits(*block: int) -> bool:
    return vmem_bytes(*block) <= VMEM_BYTES


def vmem_bytes(groups: int, tile: int, n: int, d: int, c: int, itemsize: int) -> int:
    rows = groups * c
    tokens = groups * n * d * (2 * itemsize + 4)
    weights = 2 * 2 * d * tile * itemsize
    slots = rows * d * (itemsize + 4 + 4)
    hidden = rows * tile * (4 + 4 + itemsize)
    # One-hot, its comparison and its product, of one group at a time; the two tables, padded.
    routing = n * max(c, _LANES) * (itemsize + 4) + n * d * 4
    tables = 2 * groups * 4 * _LANES * (8 + c)
    return tokens + weights + slots + hidden + routing + tables


def _kernel(
    x: Ref,
    token: Ref,
    gates: Ref,
    up: Ref,
    down: Ref,
    out: Ref,
    taken: Ref,
    partial: Ref,
    total: Ref,
    *,
    groups: int,
    c: int,
) -> None:
    expert, tile = pl.program_id(1), pl.program_id(2)
    last = tile == pl.num_programs(2) - 1
    n = x.shape[1]
    # Float32 passes the MXU as bfloat16 unless told otherwise, and a copy must be exact.
    exact = jax.lax.Precision.HIGHEST if x.dtype == jnp.float32 else None

    def slots(i: int) -> jax.Array:
        """Which token a slot of group i holds: [n, c]."""
        place = jax.lax.broadcasted_iota(jnp.int32, (n, c), 0)
        return (place == token[i, 0]).astype(x.dtype)

    @pl.when(tile == 0)
    def _() -> None:
        for i in range(groups):
            rows = jax.lax.dot_general(
                slots(i),
                x[i],
                (((0,), (0,)), ((), ())),
                precision=exact,
                preferred_element_type=jnp.float32,
            )
            taken[pl.ds(i * c, c), :] = rows.astype(x.dtype)
        partial[...] = jnp.zeros_like(partial)

    @pl.when((tile == 0) & (expert == 0))
    def _() -> None:
        total[...] = jnp.zeros_like(total)

    hidden = jnp.dot(taken[...], up[0], preferred_element_type=jnp.float32)
    hidden = jax.nn.gelu(hidden, approximate=True).astype(x.dtype)
    partial[...] += jnp.dot(hidden, down[0], preferred_element_type=jnp.float32)

    @pl.when(last)
    def _() -> None:
        for i in range(groups):
            weighted = partial[pl.ds(i * c, c), :] * gates[i, 0]
            total[i] += jnp.dot(
                slots(i),
                weighted.astype(x.dtype),
                precision=exact,
                preferred_element_type=jnp.float32,
            )

    @pl.when(last & (expert == pl.num_programs(1) - 1))
    def _() -> None:
        out[...] = total[...].astype(out.dtype)


def _padded(x: Array, dim: int, multiple: int, fill: int = 0) -> Array:
    missing = -x.shape[dim] % multiple
    widths = [(0, missing if i == dim else 0) for i in range(x.ndim)]
    return jnp.pad(x, widths, constant_values=fill) if missing else x
