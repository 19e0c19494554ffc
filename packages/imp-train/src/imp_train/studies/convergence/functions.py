"""Functions of named arrays, descended by turns: a problem for the AGD loop without any model."""

import dataclasses
import functools
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from imp_train.loop import descend, owned
from imp_train.sampler import Sampler
from imp_train.schedule import Schedule
from imp_train.state import TrainState

# Named arrays, or nests of them.
Parts = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Variant:
    name: str = "base"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Function:
    """A task: `loss(parts, batch)`, whose gradient moves the parts named in `moves` alone.

    `draw` makes the batch of a turn from a generator of its own; without it there is none.
    """

    name: str
    loss: Callable[[Parts, Any], jax.Array]
    moves: tuple[str, ...]
    weight: float = 1.0
    draw: Callable[[np.random.Generator], Any] | None = None


@dataclasses.dataclass(frozen=True)
class Turn:
    task: Function
    variant: Variant = Variant()

    @property
    def key(self) -> str:
        return self.task.name


class Descended:
    """A `loop.Problem`: plain gradient descent with the rate that `rate(step)` says."""

    log_every = 100
    checkpoint_every = 20_000
    max_skipped = 0
    throughput = None

    def __init__(
        self,
        tasks: Sequence[Function],
        *,
        sampler: Sampler,
        steps: int,
        rate: Callable[[int], float],
        seed: int,
    ) -> None:
        self.steps = steps
        self.peak_rate = rate(0)
        turns, weights = [Turn(task) for task in tasks], [task.weight for task in tasks]
        self.schedule: Schedule[Any] = Schedule(turns, weights, sampler, seed=seed)
        self._rate = rate
        self._seed = seed

    def start(self, state: TrainState, stop: int) -> None:
        pass

    def batches(self, state: TrainState) -> Generator[tuple[list[Turn], list[Any]], None, None]:
        for step in range(state.step, self.steps):
            turns = self.schedule.of_step(step)
            stream = np.random.Generator(np.random.Philox(key=[self._seed, step]))
            yield turns, [None if t.task.draw is None else t.task.draw(stream) for t in turns]

    def step(
        self, state: TrainState, choices: Sequence[Turn], batches: Sequence[Any]
    ) -> list[dict[str, Any]]:
        [turn], [batch] = choices, batches
        rate = np.float32(self._rate(state.step))
        moved, values = _step(turn.task, state.parts, batch, rate)
        state.parts |= moved
        state.step += 1
        return [values | {"rate": rate}]

    def stepped(self, state: TrainState) -> None:
        pass

    def close(self) -> None:
        pass


@functools.partial(jax.jit, static_argnums=0)
def _step(task: Function, parts: Parts, batch: Any, rate: jax.Array) -> tuple[Parts, Parts]:
    def loss_of(moved: Parts) -> jax.Array:
        return task.loss(parts | moved, batch)

    moved = {name: parts[name] for name in task.moves}
    loss, grads = jax.value_and_grad(loss_of)(moved)
    moved = jax.tree.map(lambda value, grad: value - rate * grad, moved, grads)
    # Small losses would be rounded away.
    values = {"loss": loss, "log10_loss": jnp.log10(loss), "skipped": ~jnp.isfinite(loss)}
    return moved, values


def descended(
    problem: Descended,
    parts: Parts,
    workdir: Path,
    identity: str,
    *,
    stop_after: int | None = None,
) -> TrainState:
    """The state at the end, or after `stop_after` steps; goes on from what `workdir` holds.

    Raises KeyboardInterrupt when a signal stopped it.
    """
    fresh = TrainState(step=0, parts=jax.tree.map(jnp.asarray, parts), moments={}, positions={})
    with owned(workdir, identity) as stopped:
        descent = descend(
            problem, workdir, fresh, stopped=stopped, stop_after=stop_after, progress=False
        )
    if stopped:
        raise KeyboardInterrupt
    return descent.state
