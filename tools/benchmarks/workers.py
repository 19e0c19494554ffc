"""What more workers bring: the Beam build, beside a plain loop's processes."""

import functools
import multiprocessing
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks import arms
from benchmarks.arms import Cost

_BEAM = ("--direct_running_mode=multi_processing", "--direct_num_workers={}")
_TURNS = 5_000_000
NOTE = (
    "Two CPUs may be hyperthreads of one core, which gain far less than two cores: a loop that "
    "touches no memory gains what this machine has to give."
)


def compare(source: Path, *, images: int, size: int, workers: int, rounds: int) -> None:
    """Prints wall time, CPU time and the gain from one worker to `workers`, of both."""
    kinds = {"beam": _beam, "loop": _loop}
    found = arms.in_turns(
        {
            f"{name}, {count}": functools.partial(arm, source, size, count)
            for name, arm in kinds.items()
            for count in (1, workers)
        },
        rounds=rounds,
    )
    print(f"\n{images} images on 1 and {workers} workers, medians of {rounds} rounds")
    print("| workers | wall s | CPU ms an image | images a second |\n|---|---|---|---|")
    for name, costs in found.items():
        cpu, wall = arms.median_cpu(costs), arms.median_wall(costs)
        print(f"| {name} | {wall:.1f} | {1e3 * cpu / images:.2f} | {images / wall:.0f} |")
    gains = [gain(found[f"{name}, 1"], found[f"{name}, {workers}"]) for name in kinds]
    bound = machine_gain(workers, rounds=rounds)
    print(
        f"throughput of {workers} to 1: beam {gains[0]:.2f}, loop {gains[1]:.2f}, "
        f"counting to {_TURNS:,} {bound:.2f}"
    )
    print(NOTE)


def gain(one: Sequence[Cost], several: Sequence[Cost]) -> float:
    """The median over rounds of the wall time of one worker to that of several."""
    return statistics.median(a.wall / b.wall for a, b in zip(one, several))


def machine_gain(workers: int, *, rounds: int) -> float:
    """The same of processes that share nothing and wait for nothing."""
    gains = []
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        pool.map(_count, [1] * workers, chunksize=1)
        for _ in range(rounds):
            walls = []
            for busy in (1, workers):
                began = time.monotonic()
                pool.map(_count, [_TURNS] * busy, chunksize=1)
                walls.append(time.monotonic() - began)
            gains.append(workers * walls[0] / walls[1])
    return statistics.median(gains)


def _count(turns: int) -> None:
    while turns:
        turns -= 1


def _beam(source: Path, size: int, workers: int, scratch: Path) -> tuple[object, ...]:
    """One thread decodes in each worker, so that workers are all that differs."""
    build = ("imp_data.cli", "build", "--source", f"folder:{source}", "--out", scratch / "out")
    options = [option.format(workers) for option in _BEAM]
    return (*build, "--views", f"image-{size}", "--threads", 1, "--", *options)


def _loop(source: Path, size: int, workers: int, scratch: Path) -> tuple[object, ...]:
    return "benchmarks.plain_loop", source, scratch, size, workers
