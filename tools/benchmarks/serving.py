"""What serving costs beside the bare encoder, and what becomes of callers who are too many."""

import dataclasses
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import random_bundle
from benchmarks.requests import memory_of, server
from benchmarks.serving_caller import Job, Report, write_photos
from imp_data.views import ImageView, TextView, View

_ARMS = ("stream", "calls of 8", "calls of 1")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Serving:
    """Processor seconds an item in process over those of the server; then overload."""

    model: str = "imp-s"
    size: int = 128
    length: int = 64
    batch_size: int = 8
    callers: int = 32
    seconds: float = 10.0
    rounds: int = 1
    modalities: tuple[str, ...] = ("image", "text")
    max_delay_ms: float = 50.0
    """How long an item may wait for its batch to fill, in the comparison."""
    overload: bool = True
    overload_pending: int = 16
    overload_calls: int = 24
    """Calls in progress; those beyond are refused unread."""
    overload_delay_ms: float = 5.0
    overload_wait: float = 1.4
    """What is expected to take longer than so many times a lone call is refused."""

    def run(self) -> None:
        with tempfile.TemporaryDirectory(prefix="imp-serving-") as scratch:
            folder = Path(scratch)
            views: dict[str, View] = {
                "image": ImageView(size=self.size),
                "text": TextView(length=self.length),
            }
            bundle = random_bundle.write(folder / "bundle", self.model, views)
            write_photos(folder / "photos")
            print(
                f"{self.model}, images of {self.size}, texts of up to {self.length} tokens, "
                f"batches of {self.batch_size}, {self.callers} callers in another process; "
                f"{self.rounds} rounds of {self.seconds:g} s an arm"
            )
            options = ("--compilation-cache", folder / "cache", "--batch-size", self.batch_size)
            if self.modalities:
                with server(bundle, *options, "--max-delay-ms", self.max_delay_ms) as served:
                    self._compare(served[0], served[1].pid, folder)
            if self.overload:
                delay = ("--max-delay-ms", self.overload_delay_ms)
                with server(bundle, *options, *delay) as served:
                    job = self._job(served[0], served[1].pid, folder, "image", "calls of 1")
                    lone = _call(dataclasses.replace(job, callers=1, seconds=3.0))
                    # Streams wait for room where calls are refused: they find what it can do.
                    most = _call(dataclasses.replace(job, arm="stream")).rate
                wait = round(1e3 * self.overload_wait * lone.p50)
                bounds = (
                    *("--max-pending", self.overload_pending),
                    *("--max-calls", self.overload_calls),
                    *("--max-wait-ms", wait),
                )
                print(
                    f"\nat most {self.overload_pending} images pending, "
                    f"{self.overload_calls} calls, {wait} ms of waiting"
                )
                with server(bundle, *options, *delay, *bounds) as served:
                    self._overload(served[0], served[1].pid, folder, most)

    def _compare(self, address: str, pid: int, folder: Path) -> None:
        bundle, cache = folder / "bundle", folder / "cache"
        print("| | CPU ms an item | in process / server | items a second | p99, ms |")
        print("|---|---|---|---|---|")
        for modality in self.modalities:
            alone = (bundle, cache, folder / "photos", modality, self.batch_size, self.seconds)
            found: dict[str, list[dict[str, Any]]] = {name: [] for name in ("in process", *_ARMS)}
            for number in range(self.rounds):
                for name in reversed(found) if number % 2 else found:
                    if name == "in process":
                        found[name].append(_run("benchmarks.bare_encoder", *alone))
                    else:
                        job = self._job(address, pid, folder, modality, name)
                        found[name].append(dataclasses.asdict(_call(job)))
            base = [each["cpu"] for each in found["in process"]]
            for name, each in found.items():
                cpus = [one["cpu"] for one in each]
                ratio = statistics.median(own / cpu for own, cpu in zip(base, cpus, strict=True))
                rate = statistics.median(one["rate"] for one in each)
                slowest = statistics.median(1e3 * one.get("p99", 0.0) for one in each)
                print(
                    f"| {modality}, {name} | {1e3 * statistics.median(cpus):.2f} | {ratio:.3f} | "
                    f"{rate:.1f} | {f'{slowest:.0f}' if slowest else ''} |",
                    flush=True,
                )

    def _overload(self, address: str, pid: int, folder: Path, most: float) -> None:
        one = self._job(address, pid, folder, "image", "calls of 1")
        alone = _call(dataclasses.replace(one, callers=1))
        full = _call(dataclasses.replace(one, arm="stream"))
        before = memory_of(pid)
        twice = _call(dataclasses.replace(one, arm="rate", rate=2 * most, seconds=2 * self.seconds))
        during = memory_of(pid)
        after = _call(dataclasses.replace(one, arm="stream"))
        bound = 2 * alone.p99 + self.overload_delay_ms / 1e3
        print(
            f"one caller alone: p99 {1e3 * alone.p99:.0f} ms, so that the accepted may take "
            f"{1e3 * bound:.0f} ms\n"
            f"capacity: {most:.1f} images a second, within these bounds {full.rate:.1f}\n"
            f"calls at {2 * most:.1f} a second: {twice.rate:.1f} accepted, p99 "
            f"{1e3 * twice.p99:.0f} ms; {twice.refused} refused, p99 "
            f"{1e3 * twice.refused_p99:.0f} ms; {twice.failed or 'none'} failed otherwise\n"
            f"capacity within the bounds afterwards: {after.rate:.1f} images a second\n"
            f"memory: {before:.0f} MiB before, {during:.0f} MiB at its end"
        )

    def _job(self, address: str, pid: int, folder: Path, modality: str, arm: str) -> Job:
        return Job(
            address=address,
            pid=pid,
            folder=str(folder / "photos"),
            modality=modality,
            arm=arm,
            callers=self.callers,
            seconds=self.seconds,
        )


def _call(job: Job) -> Report:
    return Report(**_run("benchmarks.serving_caller", json.dumps(dataclasses.asdict(job))))


def _run(module: str, *arguments: object) -> dict[str, Any]:
    command = [sys.executable, "-P", "-m", module, *map(str, arguments)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout.splitlines()[-1])
