"""A process that calls a server: python -m benchmarks.serving_caller JSON; prints a JSON object."""

import asyncio
import dataclasses
import json
import os
import sys
from pathlib import Path

from benchmarks.photos import photo
from imp_eval import load
from imp_eval.async_client import AsyncClient
from imp_eval.inputs import Input, media, text

_WORDS = ("red", "bird", "boat", "house", "tree", "number", "green", "dog", "near", "a", "the")
_NUM_INPUTS, _SIDE = 16, 704


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
    """What to send to `address`, whose process is `pid`. `arm` is "stream", "calls of 8",
    "calls of 1", or "rate": as many a second, of 1. Pictures lie in `folder`."""

    address: str
    pid: int
    folder: str
    modality: str
    arm: str
    callers: int = 32
    seconds: float = 10.0
    rate: float = 0.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Report:
    """Seconds, but for counts and `rate`, items answered a second. CPU of the server an item."""

    cpu: float
    rate: float
    p50: float
    p99: float
    refused: int
    refused_p99: float
    failed: dict[str, int]


def write_photos(folder: Path) -> None:
    """JPEGs of about 150 kB."""
    folder.mkdir()
    for number in range(_NUM_INPUTS):
        (folder / f"{number:02d}.jpg").write_bytes(photo(number, _SIDE))


def inputs(modality: str, folder: Path) -> list[Input]:
    """The photos, or texts of some 30 words."""
    if modality == "image":
        return [media("image", path.read_bytes()) for path in sorted(folder.iterdir())]
    return [text(words(number)) for number in range(_NUM_INPUTS)]


def words(number: int) -> str:
    """30 words, of 40 tokens or so."""
    return " ".join(_WORDS[(number * 7 + i * (1 + number % 5)) % len(_WORDS)] for i in range(30))


def cpu_of(pid: int) -> float:
    """User and system seconds of a process and its living children."""
    return sum(_ticks(member) for member in family_of(pid)) / os.sysconf("SC_CLK_TCK")


def family_of(pid: int) -> list[int]:
    """The process and its children."""
    found = [pid]
    for task in Path(f"/proc/{pid}/task").iterdir():
        found += map(int, (task / "children").read_text().split())
    return found


def _ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


async def measure(job: Job) -> Report:
    values = inputs(job.modality, Path(job.folder))
    target = "text" if job.modality == "image" else "image"
    # Who comes at a rate takes no for an answer; the others come back when they are told to.
    attempts = 1 if job.arm == "rate" else 1_000
    async with AsyncClient(job.address, attempts=attempts, timeout=300) as client:

        async def once(seconds: float) -> load.Met:
            if job.arm == "stream":
                return await load.stream_loop(client, values, target, streams=4, seconds=seconds)
            size = 8 if job.arm == "calls of 8" else 1
            work = load.embedding(client, values, target, size)
            if job.arm == "rate":
                return await load.open_loop(work, rate=job.rate, seconds=seconds)
            callers = job.callers // size if size > 1 else job.callers
            return await load.closed_loop(work, callers=callers, seconds=seconds)

        await once(1.0)
        before = cpu_of(job.pid)
        met = await once(job.seconds)
        cpu = cpu_of(job.pid) - before
    full = met.refusals.get("RESOURCE_EXHAUSTED", [])
    return Report(
        cpu=cpu / max(1, met.num_items),
        rate=met.num_items / met.seconds,
        p50=met.percentile(50),
        p99=met.percentile(99),
        refused=len(full),
        refused_p99=load.Met(latencies=full).percentile(99),
        failed={code: len(each) for code, each in met.refusals.items() if each is not full},
    )


if __name__ == "__main__":
    report = asyncio.run(measure(Job(**json.loads(sys.argv[1]))))
    print(json.dumps(dataclasses.asdict(report)))
