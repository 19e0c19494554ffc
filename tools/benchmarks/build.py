"""What building costs: against a plain loop; as the set grows, on more workers; and a resize."""

import dataclasses
import functools
import os
from pathlib import Path

from benchmarks import arms, photos, resize, workers


@dataclasses.dataclass(frozen=True, kw_only=True)
class Build:
    """CPU seconds of `imp-data build` and of a plain multiprocessing loop, in turns."""

    photos: Path = Path("benchmark-photos")
    """JPEG files are made here, once."""
    images: int = 20_000
    size: int = 128
    """Side of the stored view."""
    rounds: int = 3
    scaling: tuple[int, ...] = ()
    """Also build so many images, alone, for the cost of one as the set grows."""
    workers: int = 0
    """Also build on one worker and on so many, and say what that gains."""
    resize: bool = False
    """Also compare decoding and resizing with img2dataset's, where that is installed."""

    def run(self) -> None:
        source = photos.write(self.photos / str(self.images), self.images)
        processes = os.cpu_count() or 1
        costs = arms.in_turns(
            {
                "beam": functools.partial(self._beam, source),
                "loop": lambda scratch: (
                    "benchmarks.plain_loop",
                    source,
                    scratch,
                    self.size,
                    processes,
                ),
            },
            rounds=self.rounds,
        )
        print(f"{self.images} images, {processes} cores, medians of {self.rounds} rounds")
        print("| | CPU s | wall s | CPU ms an image |\n|---|---|---|---|")
        for name, own in costs.items():
            cpu, wall = arms.median_cpu(own), arms.median_wall(own)
            print(f"| {name} | {cpu:.1f} | {wall:.1f} | {1e3 * cpu / self.images:.2f} |")
        print(f"beam / loop: {arms.ratio(costs['beam'], costs['loop']):.3f}")
        if self.scaling:
            self._scale()
        if self.workers:
            workers.compare(
                source,
                images=self.images,
                size=self.size,
                workers=self.workers,
                rounds=self.rounds,
            )
        if self.resize:
            resize.compare(source, size=self.size, rounds=self.rounds)

    def _scale(self) -> None:
        sources = {count: photos.write(self.photos / str(count), count) for count in self.scaling}
        sets = {f"{count:08d}": functools.partial(self._beam, sources[count]) for count in sources}
        costs = arms.in_turns(sets, rounds=self.rounds)
        print("\n| images | CPU s | CPU ms an image | CPU ms a further one |\n|---|---|---|---|")
        before, spent = 0, 0.0
        for name, own in sorted(costs.items()):
            cpu, count = arms.median_cpu(own), int(name)
            further = 1e3 * (cpu - spent) / (count - before)
            print(f"| {count} | {cpu:.1f} | {1e3 * cpu / count:.2f} | {further:.2f} |")
            before, spent = count, cpu

    def _beam(self, source: Path, scratch: Path) -> tuple[object, ...]:
        view = f"image-{self.size}"
        return (
            "imp_data.cli",
            "build",
            "--source",
            f"folder:{source}",
            "--out",
            scratch / "out",
            "--views",
            view,
        )
