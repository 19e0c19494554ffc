"""What more workers bring: the Beam build, beside a plain loop's processes."""

import functools
import statistics
from collections.abc import Sequence
from pathlib import Path

from benchmarks import arms
from benchmarks.arms import Cost

_BEAM = ("--direct_running_mode=multi_processing", "--direct_num_workers={}")
NOTE = (
    "Two CPUs may be hyperthreads of one core, which gain far less than two cores: "
    "the plain loop's gain is what this machine has to give."
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
    print(f"throughput of {workers} to 1: beam {gains[0]:.2f}, loop {gains[1]:.2f}")
    print(NOTE)


def gain(one: Sequence[Cost], several: Sequence[Cost]) -> float:
    """The median over rounds of the wall time of one worker to that of several."""
    return statistics.median(a.wall / b.wall for a, b in zip(one, several))


def _beam(source: Path, size: int, workers: int, scratch: Path) -> tuple[object, ...]:
    """One thread decodes in each worker, so that workers are all that differs."""
    build = ("imp_data.cli", "build", "--source", f"folder:{source}", "--out", scratch / "out")
    options = [option.format(workers) for option in _BEAM]
    return (*build, "--views", f"image-{size}", "--threads", 1, "--", *options)


def _loop(source: Path, size: int, workers: int, scratch: Path) -> tuple[object, ...]:
    return "benchmarks.plain_loop", source, scratch, size, workers
