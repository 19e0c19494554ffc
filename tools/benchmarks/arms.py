"""Arms of a comparison as processes of their own, taken in turns, measured by processor time."""

import dataclasses
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from tqdm import tqdm

# An empty folder -> a module and its arguments.
Arm: TypeAlias = Callable[[Path], tuple[object, ...]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cost:
    """Seconds; `cpu` is user and system time of the process and all that it waited for."""

    wall: float
    cpu: float


def run(module: object, *arguments: object) -> Cost:
    """Runs `python -m module`. Raises CalledProcessError, with its output shown, if it fails."""
    command = [sys.executable, "-P", "-m", *map(str, (module, *arguments))]
    began = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return Cost(wall=time.monotonic() - began, cpu=usage.ru_utime + usage.ru_stime)


def in_turns(arms: Mapping[str, Arm], *, rounds: int) -> dict[str, list[Cost]]:
    """Each arm once a round, the order turned round every time."""
    costs: dict[str, list[Cost]] = {name: [] for name in arms}
    with tqdm(total=rounds * len(arms), unit="run", disable=None) as bar:
        for number in range(rounds):
            for name in sorted(arms, reverse=bool(number % 2)):
                bar.set_description(name)
                with tempfile.TemporaryDirectory(prefix="imp-benchmark-") as scratch:
                    costs[name].append(run(*arms[name](Path(scratch))))
                bar.update()
    return costs


def ratio(costs: Sequence[Cost], against: Sequence[Cost]) -> float:
    """The median over rounds of the processor time of one to that of the other."""
    return statistics.median(a.cpu / b.cpu for a, b in zip(costs, against))


def wall_ratio(costs: Sequence[Cost], against: Sequence[Cost]) -> float:
    """For an accelerator, whose work is no processor time."""
    return statistics.median(a.wall / b.wall for a, b in zip(costs, against))


def median_cpu(costs: Sequence[Cost]) -> float:
    return statistics.median(cost.cpu for cost in costs)


def median_wall(costs: Sequence[Cost]) -> float:
    return statistics.median(cost.wall for cost in costs)
