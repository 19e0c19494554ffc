"""The AGD loop (IMP, Algorithm 1): sample a task, take one step on it alone, repeat.

Of data, model and objective it knows nothing: they are a `Problem`'s.
"""

import contextlib
import dataclasses
import logging
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, Protocol, runtime_checkable

import jax

from imp_data.stores.lock import sole_writer
from imp_train.checkpoint import Checkpoints, check_experiment
from imp_train.metrics import Metrics
from imp_train.processes import any_of_them, is_first, wait_for_all
from imp_train.rates import Rated
from imp_train.schedule import Schedule
from imp_train.state import TrainState

log = logging.getLogger(__name__)


@runtime_checkable
class Batches(Protocol):
    """Each step's choices, and what their batches are."""

    def __next__(self) -> tuple[Sequence[Any], Sequence[Any]]: ...

    def close(self) -> None: ...


@runtime_checkable
class Problem(Protocol):
    """What to descend: tasks that share parameters, and how to take a step on one of them."""

    steps: int
    log_every: int
    checkpoint_every: int
    max_skipped: int
    """Updates that may come to nothing because they are not finite."""
    peak_rate: float
    schedule: Schedule[Any]

    @property
    def throughput(self) -> Rated | None:
        """What tells how fast it goes, once it has started."""
        ...

    def start(self, state: TrainState, stop: int) -> None:
        """Before the first step from `state`, whose schedule is restored."""
        ...

    def batches(self, state: TrainState) -> Batches:
        """From `state.step` on."""
        ...

    def step(
        self, state: TrainState, choices: Sequence[Any], batches: Sequence[Any]
    ) -> list[dict[str, Any]]:
        """Moves `state` by one step, in place, and only the parts that the choices' tasks use.

        For each choice at least "loss" and "skipped", on the device.
        """
        ...

    def stepped(self, state: TrainState) -> None:
        """After each step, once it may have been saved."""
        ...

    def close(self) -> None:
        """After the last step, or an error."""
        ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class Descent:
    """Where it came to from which step, and seconds in which the device had to wait for batches."""

    state: TrainState
    start: int
    waited: float


@contextlib.contextmanager
def owned(
    workdir: Path, identity: str, as_now: Callable[[Any], Any] = lambda recorded: recorded
) -> Iterator[Sequence[int]]:
    """A workdir that no other run trains in, and that is `identity`'s: the JSON of what is run,
    compared with what is there as `as_now` puts that.

    Yields the signals caught so far, SIGTERM and SIGINT: a second one does end the process.
    Raises ValueError for a workdir of another identity, or one that another run trains in.
    """
    with contextlib.ExitStack() as stack:
        if is_first():
            stack.enter_context(sole_writer(workdir))
            check_experiment(workdir, identity, as_now)
        wait_for_all("the workdir is ours")
        yield stack.enter_context(_stop_signals())


def descend(
    problem: Problem,
    workdir: Path,
    fresh: TrainState,
    *,
    stopped: Sequence[int],
    stop_after: int | None = None,
    progress: bool = True,
) -> Descent:
    """Steps from the last checkpoint, or from `fresh`, until `problem.steps`, `stop_after` or a
    signal in `stopped`; then saves.

    Raises FloatingPointError once more than `problem.max_skipped` updates were not finite.
    """
    checkpoints = Checkpoints(workdir / "checkpoints")
    state = checkpoints.restore(fresh)
    start, waited = state.step, 0.0
    end = min(problem.steps, stop_after or problem.steps)
    if state.step < end:
        problem.schedule.restore(state.sampler)
        problem.start(state, end)
        metrics = Metrics(
            workdir if is_first() else None,
            start=state.step,
            steps=problem.steps,
            progress=progress,
            throughput=problem.throughput,
        )
        try:
            waited = _steps(problem, state, checkpoints, metrics, end, stopped)
            if checkpoints.latest_step != state.step:
                checkpoints.save(state)
        except BaseException:
            # Of several processes one may be lost, for which the save under way would wait.
            if jax.process_count() == 1:
                with contextlib.suppress(OSError):
                    checkpoints.close()
            raise
        finally:
            problem.close()
            metrics.close()
    checkpoints.close()
    return Descent(state=state, start=start, waited=waited)


def _steps(
    problem: Problem,
    state: TrainState,
    checkpoints: Checkpoints,
    metrics: Metrics,
    end: int,
    stopped: Sequence[int],
) -> float:
    """Moves `state`; seconds of waiting."""

    def settle() -> None:
        for seen in metrics.flush():
            state.skipped += seen.skipped
            problem.schedule.observe(seen.step, seen.choice, seen.loss)
        state.sampler = problem.schedule.saved()

    waited, last = 0.0, None
    batches = problem.batches(state)
    try:
        while state.step < end and not _stops(problem, state, stopped):
            asked = time.perf_counter()
            choices, own = next(batches)
            # While the step before is at work, its device waits for nothing.
            if last is None or last.is_ready():
                waited += time.perf_counter() - asked
            found = problem.step(state, choices, own)
            last = found[-1]["loss"]
            taken = len(own) // len(choices)
            for choice, values in zip(choices, found, strict=True):
                metrics.add(state.step - 1, choice, values)
                state.positions[choice.key] = state.positions.get(choice.key, 0) + taken
            if state.step % problem.log_every == 0:
                settle()
                _check_skipped(problem, state, choices[-1].task.name)
            # Before the save: what a kill cuts off is done again by the run that goes on from it.
            problem.stepped(state)
            if state.step % problem.checkpoint_every == 0:
                settle()
                checkpoints.save(state)
        settle()
    finally:
        batches.close()
    return waited


def _stops(problem: Problem, state: TrainState, stopped: Sequence[int]) -> bool:
    """Whether a signal has come to some process; several agree at each `log_every` only."""
    if jax.process_count() > 1 and state.step % problem.log_every:
        return False
    return any_of_them(bool(stopped))


def _check_skipped(problem: Problem, state: TrainState, task: str) -> None:
    if state.skipped > problem.max_skipped:
        raise FloatingPointError(
            f"{state.skipped} updates had a non-finite loss or gradient by step {state.step} (last "
            f"task {task!r}); lower the rate {problem.peak_rate} or look at its data"
        )


@contextlib.contextmanager
def _stop_signals() -> Iterator[list[int]]:
    """Collects SIGTERM and SIGINT instead of ending the process; a second one does end it."""
    caught: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        log.warning("%s: saving, then stopping", signal.Signals(number).name)
        caught.append(number)
        signal.signal(number, before[signal.Signals(number)])

    before = {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
