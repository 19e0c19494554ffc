"""NCE over a global batch in tiles around the mesh's ring: no device ever holds a B x B matrix.

Each device keeps its sources, and the targets travel from device to device with their columns' sums
(forward) or their gradients (backward), so that after one round everything is home again. A tile's
logits are computed twice, once each way, and never stored (Gao et al. 2021 and the ring of
Liu et al. 2023 in one).
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Float, Int

from imp_model import sharding
from imp_train import losses

# Columns of a tile at most.
TILE = 1024
Ring: TypeAlias = tuple[str, ...]


class _Travelling(NamedTuple):
    """Targets on their way round, and what is gathered for each of them."""

    targets: Float[Array, "n d"]
    groups: Int[Array, " n"]
    places: Int[Array, " n"]
    gathered: Array


def contrastive(
    sources: Float[Array, "b d"],
    targets: Float[Array, "b d"],
    scale: Float[Array, ""],
    groups: Int[Array, " b"],
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """`losses.contrastive` and its gradients, for batches and meshes of any size.

    Under a mesh the batch is spread over the axes of `sharding.BATCH`, whose product divides it.
    What is one tile on one device is done in one piece.
    """
    if not ring() and len(sources) <= TILE:
        return losses.contrastive(sources, targets, scale, groups)
    loss, accuracy = _contrastive(sources, targets, scale, groups)
    return loss, jax.lax.stop_gradient(accuracy)


def ring() -> Ring:
    """The ambient mesh's axes that a batch is spread over."""
    return tuple(axis for axis in sharding.BATCH if sharding.axis_size(axis) > 1)


@jax.custom_vjp
def _contrastive(
    sources: Array, targets: Array, scale: Array, groups: Array
) -> tuple[Array, Array]:
    return _forward(sources, targets, scale, groups)[0]


def _forward(
    sources: Array, targets: Array, scale: Array, groups: Array
) -> tuple[tuple[Array, Array], tuple[Array, ...]]:
    axes = ring()
    batch = len(sources)

    def local(a: Array, t: Array, scale: Array, groups: Array) -> tuple[Array, ...]:
        own = _places(axes, len(a))
        positive = scale * jnp.sum(a * t, axis=1)
        nothing = jnp.full(len(a), -jnp.inf)

        def visit(
            rows: tuple[Array, Array], tile: _Travelling
        ) -> tuple[tuple[Array, Array], Array]:
            logits = _logits(a, tile, scale, groups, own)
            others = jnp.where(own[:, None] == tile.places, -jnp.inf, logits)
            sums, best = rows
            sums = jnp.logaddexp(sums, jax.nn.logsumexp(logits, axis=1))
            best = jnp.maximum(best, others.max(1))
            return (sums, best), jnp.logaddexp(tile.gathered, jax.nn.logsumexp(logits, axis=0))

        home = _Travelling(t, groups, own, nothing)
        (rows, best), columns = _round(axes, visit, (nothing, nothing), home)
        loss = jnp.sum(rows + columns - 2 * positive) / (2 * batch)
        # The diagonal is the first of equals as often as not; a tie is a hit.
        hits = jnp.sum(positive >= best) / batch
        if axes:
            loss, hits = jax.lax.psum((loss, hits), axes)
        return loss, hits, rows, columns

    spread = P(axes or None)
    loss, hits, rows, columns = _over(
        axes, local, (spread, spread, P(), spread), (P(), P(), spread, spread)
    )(sources, targets, scale, groups)
    return (loss, hits), (sources, targets, scale, groups, rows, columns)


def _backward(kept: tuple[Array, ...], cotangents: tuple[Array, Array]) -> tuple[Array | None, ...]:
    sources, targets, scale, groups, rows, columns = kept
    axes = ring()
    weight = cotangents[0] / (2 * len(sources))

    def local(
        a: Array, t: Array, scale: Array, groups: Array, rows: Array, columns: Array, weight: Array
    ) -> tuple[Array, Array, Array]:
        own = _places(axes, len(a))

        def visit(
            sums: tuple[Array, Array], tile: _Travelling
        ) -> tuple[tuple[Array, Array], Array]:
            columns, grads = tile.gathered[:, 0], tile.gathered[:, 1:]
            logits = _logits(a, tile, scale, groups, own)
            excess = jnp.exp(logits - rows[:, None]) + jnp.exp(logits - columns)
            excess = weight * (excess - 2 * (own[:, None] == tile.places))
            to_a, to_scale = sums
            to_a += scale * _product("ij,jd->id", excess, tile.targets)
            # Of the similarities themselves: the scale may be anything, and logits hold -inf.
            similar = _product("id,jd->ij", a, tile.targets)
            to_scale += jnp.sum(excess * similar)
            grads += scale * _product("ij,id->jd", excess, a)
            return (to_a, to_scale), jnp.concatenate([columns[:, None], grads], axis=1)

        gathered = jnp.concatenate([columns[:, None], jnp.zeros_like(t)], axis=1)
        home = _Travelling(t, groups, own, gathered)
        (to_a, to_scale), gathered = _round(
            axes, visit, (jnp.zeros_like(a), jnp.zeros_like(scale)), home
        )
        if axes:
            to_scale = jax.lax.psum(to_scale, axes)
        return to_a, gathered[:, 1:], to_scale

    spread = P(axes or None)
    to_a, to_t, to_scale = _over(
        axes,
        local,
        (spread, spread, P(), spread, spread, spread, P()),
        (spread, spread, P()),
    )(sources, targets, scale, groups, rows, columns, weight)
    return to_a, to_t, to_scale, None


_contrastive.defvjp(_forward, _backward)


def _over(axes: Ring, local: Callable[..., tuple[Array, ...]], ins: object, outs: object) -> Any:
    """`local` on every device of the ring, or on the one there is."""
    if not axes:
        return local
    # Both directions are written out, so that nothing here is differentiated or inferred.
    return jax.shard_map(local, in_specs=ins, out_specs=outs, check_vma=False)


def _places(axes: Ring, count: int) -> Int[Array, " n"]:
    """This device's rows of the global batch."""
    device = jax.lax.axis_index(axes) if axes else 0
    return device * count + jnp.arange(count)


def _round(
    axes: Ring,
    visit: Callable[[Any, _Travelling], tuple[Any, Array]],
    state: Any,
    home: _Travelling,
) -> tuple[Any, Array]:
    """Every device's targets visit this one, tile by tile; ours come home with their sums."""
    devices = jax.lax.axis_size(axes) if axes else 1
    count = len(home.places)
    tiles = next(k for k in range(-(-count // TILE), count + 1) if count % k == 0)

    def cut(x: Array) -> Array:
        return x.reshape(tiles, -1, *x.shape[1:])

    def stop(carry: tuple[Any, _Travelling], _: None) -> tuple[tuple[Any, _Travelling], None]:
        state, travelling = carry
        state, gathered = jax.lax.scan(visit, state, jax.tree.map(cut, travelling))
        travelling = travelling._replace(gathered=gathered.reshape(travelling.gathered.shape))
        if axes:
            ahead = [(i, (i + 1) % devices) for i in range(devices)]
            travelling = jax.lax.ppermute(travelling, axes, ahead)
        return (state, travelling), None

    (state, travelling), _ = jax.lax.scan(stop, (state, home), None, length=devices)
    return state, travelling.gathered


def _logits(
    a: Float[Array, "n d"], tile: _Travelling, scale: Array, groups: Array, own: Array
) -> Float[Array, "n m"]:
    """-inf for pairs of one group that are not one example's own."""
    alike = groups[:, None] == tile.groups
    itself = own[:, None] == tile.places
    logits = scale * _product("id,jd->ij", a, tile.targets)
    return jnp.where(alike & ~itself, -jnp.inf, logits)


# A similarity's error is multiplied by the scale, up to a hundred.
_product = functools.partial(jnp.einsum, precision=jax.lax.Precision.HIGHEST)
