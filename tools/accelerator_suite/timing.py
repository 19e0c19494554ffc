"""Programs compiled ahead of time, and programs timed by turns."""

import dataclasses
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import jax

Wait: TypeAlias = Callable[[Any], Any]
_MOST = 25.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Compiled:
    """`temporaries` are bytes of the device's memory beside arguments and results."""

    program: Callable[..., Any]
    seconds: float
    temporaries: int

    def __call__(self, *arguments: Any) -> Any:
        return self.program(*arguments)


def compiled(function: Any, *arguments: Any, options: Mapping[str, Any] | None = None) -> Compiled:
    """`function`, jitted or to be, for arguments of these shapes; `options` are XLA's flags."""
    jitted = function if isinstance(function, jax.stages.Wrapped) else jax.jit(function)
    began = time.perf_counter()
    program = jitted.lower(*arguments).compile(compiler_options=dict(options or {}) or None)
    seconds = time.perf_counter() - began
    memory = program.memory_analysis()
    return Compiled(
        program=program,
        seconds=seconds,
        temporaries=0 if memory is None else memory.temp_size_in_bytes,
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arm:
    """Runs are queued one behind another, as a training loop's are, and `wait` is for the last."""

    run: Callable[[], Any]
    wait: Wait = jax.block_until_ready

    def seconds(self, repeats: int) -> float:
        began = time.perf_counter()
        result = None
        for _ in range(repeats):
            result = self.run()
        self.wait(result)
        return (time.perf_counter() - began) / repeats


def of(program: Callable[..., Any], *arguments: Any) -> Arm:
    return Arm(run=lambda: program(*arguments))


def in_turns(arms: Mapping[str, Arm], *, rounds: int, seconds: float) -> dict[str, list[float]]:
    """Seconds of a run of each, round by round, the order turned round every time.

    All run twice before, unmeasured; in a round each runs for about so many `seconds`. What is so
    slow that the rounds would take over `_MOST` seconds has fewer of them.
    """
    repeats, slowest = {}, 0.0
    for name, arm in arms.items():
        arm.seconds(1)
        once = max(arm.seconds(1), 1e-6)
        repeats[name] = max(1, min(2000, round(seconds / once)))
        slowest += repeats[name] * once
    rounds = max(1, min(rounds, int(_MOST / slowest)))
    found: dict[str, list[float]] = {name: [] for name in arms}
    for number in range(rounds):
        for name in sorted(arms, reverse=bool(number % 2)):
            found[name].append(arms[name].seconds(repeats[name]))
    return found


def ratio(seconds: list[float], against: list[float]) -> float:
    """The median over rounds."""
    return statistics.median(a / b for a, b in zip(seconds, against, strict=True))
