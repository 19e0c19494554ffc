"""Placement: where a run's arrays lie, on a mesh of the devices of all its processes."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

from imp_model import sharding
from imp_model.config import ModelConfig

T = TypeVar("T")


@dataclasses.dataclass(frozen=True, kw_only=True)
class MeshShape:
    """Devices along each axis of the mesh (see imp_model.sharding)."""

    data: int = 0
    """Devices that the batch is spread over; 0 takes those that are left."""
    fsdp: int = 1
    """Devices that the batch and every kernel's width are spread over."""
    expert: int = 1
    """Devices that the batch and the experts are spread over."""
    model: int = 1
    """Devices that heads and hidden units are spread over."""


class Placement:
    """Places arrays on the mesh; each process holds `shards` of a batch's `num_shards` parts."""

    def __init__(
        self,
        config: ModelConfig,
        shape: MeshShape | None = None,
        *,
        devices: Sequence[jax.Device] | None = None,
    ) -> None:
        """Raises ValueError where `devices`, or all there are, or the model don't fit `shape`."""
        sizes = dataclasses.asdict(shape or MeshShape())
        self.mesh = sharding.make_mesh(config, **sizes, devices=devices)
        self._batch = sharding.batch_sharding(self.mesh)
        spread = math.prod(int(self.mesh.shape[axis]) for axis in sharding.BATCH)
        self.num_shards = spread if jax.process_count() > 1 else 1
        owners = np.array([device.process_index for device in self.mesh.devices.flat])
        rows = (owners.reshape(self.num_shards, -1) == jax.process_index()).any(1)
        self.shards = tuple(int(row) for row in np.flatnonzero(rows))

    def check_batch(self, what: str, size: int) -> None:
        """ValueError where a batch of so many can't be spread over the mesh."""
        with jax.set_mesh(self.mesh):
            sharding.check_batch(what, size)

    def state(self, tree: T) -> T:
        """Parameters or moments, equal in every process, laid out by their logical axes."""

        def place(value: jax.Array, where: jax.sharding.NamedSharding) -> jax.Array:
            whole = np.asarray(value)
            return jax.make_array_from_callback(whole.shape, where, lambda index: whole[index])

        return jax.tree.map(place, tree, sharding.shardings(self.mesh, tree))

    def batch(self, tree: T) -> T:
        """This process's shards of a batch, as arrays of the whole batch."""

        def place(own: np.ndarray) -> jax.Array:
            parts = dict(zip(self.shards, np.split(own, len(self.shards)), strict=True))
            rows = len(own) // len(self.shards)
            shape = (rows * self.num_shards, *own.shape[1:])

            def shard(index: Any) -> np.ndarray:
                return parts[(index[0].start or 0) // rows]

            return jax.make_array_from_callback(shape, self._batch, shard)

        # One process's whole batch is left to the program, which places it itself.
        return jax.tree.map(place, tree) if jax.process_count() > 1 else tree

    def state_specs(self, tree: T) -> T:
        """The shapes of parameters or moments with the places they will lie in."""
        return jax.tree.map(
            lambda s, where: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=where),
            tree,
            sharding.shardings(self.mesh, tree),
        )

    def batch_specs(self, tree: Any) -> Any:
        """The shapes of a whole batch with the places they will lie in."""
        return jax.tree.map(
            lambda s: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=self._batch), tree
        )


def gathered(tree: T) -> T:
    """Sharded arrays as whole ones on every process's host. Every process must call it."""
    if jax.process_count() == 1:
        return tree
    return jax.tree.map(lambda x: multihost_utils.process_allgather(x, tiled=True), tree)
