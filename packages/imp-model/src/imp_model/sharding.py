"""Logical axes -> mesh axes, here and nowhere else: where parameters and examples lie on a mesh.

Four mesh axes. `data`, `fsdp` and `expert` split the batch between them; beside that, `fsdp` splits
every kernel's width (gathered where it is used), `expert` the experts (tokens travel to them, see
expert_parallel), and `model` the heads and the hidden units of a feed-forward network.

Under `with jax.set_mesh(make_mesh(...))` a Model computes what it computes on one device. Without
such a mesh, or inside a `jax.shard_map`, nothing here does anything.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import AbstractMesh, AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Array

from imp_model.config import ModelConfig

T = TypeVar("T")

AXES = ("data", "fsdp", "expert", "model")
BATCH = ("data", "fsdp", "expert")
RULES: Mapping[str, str | None] = {
    "embed": "fsdp",
    "expert": "expert",
    "heads": "model",
    "mlp": "model",
    # Whole on every device: small, or not a multiple of anything.
    "layers": None,
    "embed_out": None,
    "norm": None,
    "patch": None,
    "vocab": None,
    "classes": None,
}


def make_mesh(
    config: ModelConfig,
    *,
    data: int = 0,
    fsdp: int = 1,
    expert: int = 1,
    model: int = 1,
    devices: Sequence[jax.Device] | None = None,
) -> Mesh:
    """A mesh over `devices` (all there are) that `config` fits; 0 for `data` takes what is left.

    Raises ValueError for sizes that don't make up the devices, or that the model can't be split by.
    """
    devices = jax.devices() if devices is None else devices
    rest = fsdp * expert * model
    if min(data, fsdp - 1, expert - 1, model - 1) < 0:
        raise ValueError(
            f"mesh data={data} fsdp={fsdp} expert={expert} model={model}: sizes must be at least 1 "
            "(data=0 takes the devices that are left)"
        )
    if len(devices) % rest or (data or len(devices) // rest) * rest != len(devices):
        fits = (
            f"data={len(devices) // rest} would do"
            if len(devices) % rest == 0
            else f"fsdp x expert x model must divide {len(devices)}"
        )
        raise ValueError(
            f"mesh data={data} fsdp={fsdp} expert={expert} model={model} is of "
            f"{(data or 1) * rest} devices, of {len(devices)} that there are; {fits}"
        )
    _check_divides("expert", expert, {"num_experts": config.num_experts}, config.num_moe_layers > 0)
    _check_divides("model", model, {"num_heads": config.num_heads, "mlp": config.mlp}, True)
    _check_divides("fsdp", fsdp, {"width": config.width}, True)
    sizes = (data or len(devices) // rest, fsdp, expert, model)
    # Auto: the compiler carries the shardings from the few constraints that the layers state.
    return jax.make_mesh(sizes, AXES, (AxisType.Auto,) * len(AXES), devices=devices)


def _check_divides(axis: str, size: int, dims: Mapping[str, int], present: bool) -> None:
    if not present:
        if size > 1:
            raise ValueError(f"mesh axis {axis}={size}, but the model has no MoE layer; {axis}=1")
        return
    for name, dim in dims.items():
        if dim % size:
            whole = math.gcd(*dims.values())
            fits = [str(n) for n in range(1, whole + 1) if whole % n == 0]
            raise ValueError(
                f"mesh axis {axis}={size} does not divide {name} {dim}; one of "
                f"{', '.join(fits)} would"
            )


def spec(axes: Sequence[str | None]) -> P:
    """Where a parameter of these logical axes lies."""
    return P(*(None if axis is None else RULES[axis] for axis in axes))


def shardings(mesh: Mesh | AbstractMesh, tree: Any) -> Any:
    """`tree` with a NamedSharding for each array: of a Model, an abstract one, their parts, or an
    optimizer's moments of them. What has no logical axes, as a count, is whole on every device.

    `jax.device_put(tree, shardings(mesh, tree))` places it.
    """
    leaves = jax.tree.leaves(tree, is_leaf=lambda x: isinstance(x, nnx.Variable))
    specs = [spec(x.out_sharding) if isinstance(x, nnx.Variable) else P() for x in leaves]
    return jax.tree.unflatten(jax.tree.structure(tree), [NamedSharding(mesh, s) for s in specs])


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Of inputs and labels: examples over data x fsdp x expert."""
    return NamedSharding(mesh, P(BATCH))


def current() -> AbstractMesh | None:
    """The ambient mesh, if it is one of ours and has more than one device."""
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty or set(mesh.axis_names) != set(AXES) or mesh.size == 1:
        return None
    return None if AxisType.Manual in mesh.axis_types else mesh


def axis_size(axis: str) -> int:
    mesh = current()
    return 1 if mesh is None else mesh.shape[axis]


def batch_shards() -> int:
    """How many devices the examples are spread over."""
    return math.prod(axis_size(axis) for axis in BATCH)


def check_batch(what: str, size: int) -> None:
    """ValueError where a batch of so many can't be spread evenly."""
    if size % (shards := batch_shards()):
        fits = [str(n) for n in (size // shards * shards, -(-size // shards) * shards) if n]
        raise ValueError(
            f"{what}: a batch of {size} can't be spread over data x fsdp x expert = {shards} "
            f"devices; {' or '.join(fits)} can"
        )


def batched(x: Array) -> Array:
    """`x` [b, ...] with its examples spread, all else whole."""
    return x if current() is None else jax.lax.with_sharding_constraint(x, P(BATCH))


def join(batches: Sequence[Array]) -> Array:
    """Batches in one: in a row, or on a mesh each device's examples beside its others, so that
    none moves. `split` takes them apart again. (A router's noise is drawn for rows, and so falls on
    other examples then.)"""
    shards = batch_shards()
    if shards == 1:
        return jnp.concatenate(batches)
    own = [x.reshape(shards, -1, *x.shape[1:]) for x in batches]
    return jnp.concatenate(own, axis=1).reshape(-1, *batches[0].shape[1:])


def split(joined: Array, sizes: Sequence[int], dim: int = 0) -> list[Array]:
    """The batches of `sizes` that were joined in dimension `dim`."""
    shards, shape = batch_shards(), joined.shape
    own = joined.reshape(*shape[:dim], shards, -1, *shape[dim + 1 :])
    ends = list(itertools.accumulate(size // shards for size in sizes))
    return [
        part.reshape(*shape[:dim], -1, *shape[dim + 1 :])
        for part in jnp.split(own, ends[:-1], axis=dim + 1)
    ]


def constrain(x: Array, axes: Sequence[str | None]) -> Array:
    """`x` laid out by its logical axes."""
    return x if current() is None else jax.lax.with_sharding_constraint(x, spec(axes))


def as_parameters(tree: T) -> T:
    """Gradients, or whatever has parameters' logical axes, laid out as those are."""

    def lay(x: Any) -> Any:
        return x.replace(constrain(x[...], x.out_sharding)) if isinstance(x, nnx.Variable) else x

    return jax.tree.map(lay, tree, is_leaf=lambda x: isinstance(x, nnx.Variable))


def whole(tree: T) -> T:
    """Every array on every device."""
    return jax.tree.map(lambda x: constrain(x, (None,) * x.ndim), tree)


def at_use(param: nnx.Param, dtype: jnp.dtype | None = None) -> Array:
    """A parameter as a layer takes it: in `dtype`, and gathered over `fsdp`.

    Cast first, so that half the bytes travel in bfloat16; stated here, so that the compiler gathers
    kernels and never activations.
    """
    value = param[...] if dtype is None else param[...].astype(dtype)
    # In a scan's body the layers' own axis is gone.
    axes = param.out_sharding[len(param.out_sharding) - value.ndim :]
    return constrain(value, [None if axis and RULES[axis] == "fsdp" else axis for axis in axes])
