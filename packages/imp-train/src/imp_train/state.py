"""TrainState: what a checkpoint holds."""

import dataclasses
from typing import Any

import jax

from imp_model.bundle import flatten


@dataclasses.dataclass
class TrainState:
    """`parts` and `moments` are trees of arrays by a part's name. `step` counts all steps,
    `positions[task/variant]` the batches each loader has given; `sampler` is what an adaptive one
    remembers."""

    step: int
    parts: dict[str, Any]
    moments: dict[str, Any]
    positions: dict[str, int]
    skipped: int = 0
    sampler: dict[str, Any] = dataclasses.field(default_factory=dict)

    def arrays(self) -> dict[str, jax.Array]:
        """{path: array}, parameters and moments."""
        moments = {
            f"moments/{name}/{i}": leaf
            for name, state in sorted(self.moments.items())
            for i, leaf in enumerate(jax.tree.leaves(state))
        }
        return {f"params/{k}": v for k, v in flatten(self.parts).items()} | moments

    def with_arrays(self, arrays: dict[str, jax.Array]) -> "TrainState":
        """This state's structure filled from `arrays()` of an equal one."""
        names = list(self.arrays())
        leaves, structure = jax.tree.flatten((self.parts, self.moments))
        del leaves
        # `arrays` lists parameters part by part, then moments part by part: the tree's own order.
        parts, moments = jax.tree.unflatten(structure, [arrays[name] for name in names])
        return dataclasses.replace(self, parts=parts, moments=moments)
