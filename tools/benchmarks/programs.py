"""Compiled programs taken in turns in this process, measured by its processor time."""

import time
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import jax
from tqdm import tqdm

from benchmarks.arms import Cost

# Runs once and returns what to wait for, or nothing where it has waited itself.
Program: TypeAlias = Callable[[], Any]


def in_turns(
    programs: Mapping[str, Program], *, rounds: int, seconds: float = 0.3
) -> dict[str, list[Cost]]:
    """Cost of one run of each, once a round, the order turned round every time.

    A round repeats each program for about so many `seconds`; all are run once before, unmeasured,
    and so compiled.
    """
    repeats = {}
    for name, program in programs.items():
        _measure(program, 1)
        repeats[name] = max(1, round(seconds / _measure(program, 1).wall))
    costs: dict[str, list[Cost]] = {name: [] for name in programs}
    for number in tqdm(range(rounds), unit="round", disable=None, leave=False):
        for name in sorted(programs, reverse=bool(number % 2)):
            costs[name].append(_measure(programs[name], repeats[name]))
    return costs


def compiled(function: Callable[..., Any], *arguments: Any) -> Program:
    """`function` jitted, and called with `arguments`, which lie on the device."""
    jitted, arguments = jax.jit(function), jax.device_put(arguments)
    return lambda: jitted(*arguments)


def value_and_gradient(function: Callable[..., Any]) -> Callable[..., Any]:
    """The gradient by every argument of the squared output's sum: a forward and a backward pass."""

    def gradient(*arguments: Any) -> Any:
        def loss(*arguments: Any) -> Any:
            return (function(*arguments).astype("float32") ** 2).sum()

        return jax.value_and_grad(loss, tuple(range(len(arguments))))(*arguments)

    return gradient


def _measure(program: Program, repeats: int) -> Cost:
    wall, cpu = time.monotonic(), time.process_time()
    for _ in range(repeats):
        jax.block_until_ready(program())
    return Cost(wall=(time.monotonic() - wall) / repeats, cpu=(time.process_time() - cpu) / repeats)
