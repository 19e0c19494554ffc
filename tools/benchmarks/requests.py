"""Hostile requests to a running server: its answers, and what becomes of it and its callers."""

import asyncio
import collections
import contextlib
import dataclasses
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import grpc
import numpy as np
from tqdm import tqdm

from benchmarks import random_bundle
from benchmarks.hostile import Hostile, Source
from benchmarks.photos import photo
from benchmarks.serving_caller import family_of
from imp_eval.async_client import AsyncClient
from imp_eval.calls import Options
from imp_eval.inputs import media, text
from imp_eval.retries import LOST_STATUS
from imp_eval.tokens import new_token
from imp_proto.v1 import embedding_pb2, retrieval_pb2

_DIM = 96
_TEXTS = 6


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcome:
    """`wrong` says of each request that was not answered rightly what came instead; a neighbour is
    who calls soundly meanwhile; memory is in MiB, after a tenth and at the end."""

    codes: dict[str, collections.Counter[str]]
    wrong: list[str]
    slowest_neighbour: float
    neighbours: int
    memory: tuple[float, float]

    def __str__(self) -> str:
        lines = ["| damage | answers |", "|---|---|"]
        for kind, counts in sorted(self.codes.items()):
            lines.append(f"| {kind} | {', '.join(f'{n} {c}' for c, n in counts.most_common())} |")
        lines.append(
            f"\n{len(self.wrong)} answered wrongly; beside them {self.neighbours} sound calls, all "
            f"answered to the bit, the slowest in {self.slowest_neighbour:.2f} s; memory of the "
            f"server and its decoders {self.memory[0]:.0f} MiB after a tenth, "
            f"{self.memory[1]:.0f} MiB at the end"
        )
        return "\n".join([*lines, *self.wrong[:20]])


@dataclasses.dataclass(frozen=True, kw_only=True)
class HostileRequests:
    """Requests damaged in every way that we know, to a server in a process of its own."""

    requests: int = 10_000
    seed: int = 0
    callers: int = 8

    def run(self) -> None:
        """Prints what was answered. Raises ValueError where an answer was wrong."""
        outcome = self.outcome()
        print(f"{self.requests} requests of seed {self.seed}, {self.callers} at a time")
        print(outcome)
        if outcome.wrong:
            raise ValueError(f"{len(outcome.wrong)} answers were wrong")

    def outcome(self) -> Outcome:
        """Raises CalledProcessError where the server did not outlive them."""
        token, line = new_token("benchmark", None)
        with tempfile.TemporaryDirectory(prefix="imp-hostile-") as scratch:
            folder = Path(scratch)
            (folder / "tokens").write_text(line)
            bundle = random_bundle.tiny(folder / "bundle")
            options = ["--tokens", folder / "tokens", "--batch-size", 8, "--decode-mib", 256]
            with server(bundle, *options) as (address, process):
                return asyncio.run(self._send(address, token, process.pid))

    async def _send(self, address: str, token: str, pid: int) -> Outcome:
        requests = Source(self.seed, _DIM).take(self.requests)
        codes: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
        wrong: list[str] = []
        memory: list[float] = []
        options = Options(token=token)
        queue = iter(enumerate(requests))
        with tqdm(total=len(requests), unit="request", disable=None) as bar:
            async with AsyncClient(address, options=options) as neighbour:
                await neighbour.create_collection("pictures", "image")
                stop = asyncio.Event()
                checked = asyncio.create_task(_neighbour(neighbour, stop))

                async def caller() -> None:
                    async with grpc.aio.insecure_channel(
                        address, [("grpc.max_send_message_length", -1)]
                    ) as channel:
                        for number, request in queue:
                            code, complaint = await _ask(channel, request, options)
                            codes[request.kind][code] += 1
                            if complaint:
                                wrong.append(f"request {number}, {request.kind}: {complaint}")
                            if number in (len(requests) // 10, len(requests) - 1):
                                memory.append(memory_of(pid))
                            bar.update()

                await asyncio.gather(*(caller() for _ in range(self.callers)))
                stop.set()
                times = await checked
        return Outcome(
            codes=dict(codes),
            wrong=wrong,
            slowest_neighbour=max(times),
            neighbours=len(times),
            memory=(memory[0], memory[-1]),
        )


async def _ask(
    channel: grpc.aio.Channel, request: Hostile, options: Options
) -> tuple[str, str | None]:
    """The answer's code, and what is wrong about it."""
    given = dict(request.metadata)
    metadata = tuple({**dict(options.metadata), **given}.items())
    try:
        if request.method == "EmbedStream":

            async def messages() -> AsyncIterator[bytes]:
                for message in request.messages:
                    yield message

            call = channel.stream_stream(request.path)(messages(), metadata=metadata, timeout=60)
            async for _ in call:
                pass
            answer = b""
        else:
            answer = await channel.unary_unary(request.path)(
                request.messages[0],
                metadata=metadata,
                timeout=60,
                compression=request.compression,
            )
    except grpc.aio.AioRpcError as error:
        code, details = error.code().name, error.details() or ""
        if details == LOST_STATUS:
            return await _ask(channel, request, options)
        if code not in request.right:
            return code, f"{code} ({details}) instead of {', '.join(sorted(request.right))}"
        # The library's own messages of sizes are longer than ours.
        if not details or "\n" in details or len(details) > 300:
            return code, f"{code} says {details!r}"
        return code, None
    if "OK" not in request.right:
        return "OK", f"OK instead of {', '.join(sorted(request.right))}"
    if not request.items:
        return "OK", None
    return "OK", _check_items(request, answer)


def _check_items(request: Hostile, answer: bytes) -> str | None:
    if request.method == "Embed":
        results = embedding_pb2.EmbedResponse.FromString(answer).results
    else:
        results = retrieval_pb2.UpsertResponse.FromString(answer).results
    if len(results) != request.items:
        return f"{len(results)} results for {request.items} items"
    for place, result in enumerate(results):
        failed = result.HasField("error")
        if place in request.errors and not failed:
            return f"item {place} has a result"
        if not failed:
            continue
        message = result.error.message
        if result.error.code != 3 or not message or "\n" in message or len(message) > 300:
            return f"item {place} failed with {result.error.code} and says {message!r}"
    return None


async def _neighbour(client: AsyncClient, stop: asyncio.Event) -> list[float]:
    """Sound calls one after the other, each answered to the bit: their seconds."""
    inputs = [media("image", photo(0)), *(text(f"a bird number {i}") for i in range(_TEXTS))]
    targets = ["text", *["image"] * _TEXTS]
    want: list[np.ndarray] = []
    times: list[float] = []
    while not stop.is_set():
        for place, (value, target) in enumerate(zip(inputs, targets, strict=True)):
            began = time.monotonic()
            [got] = await client.embed([value], target)
            times.append(time.monotonic() - began)
            assert isinstance(got, np.ndarray), got
            if len(want) <= place:
                want.append(got)
            assert got.tobytes() == want[place].tobytes(), "an embedding changed"
        await asyncio.sleep(0.02)
    return times


@contextlib.contextmanager
def server(bundle: Path, *options: object) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """`imp-eval serve` on a free port, in a process of its own: its address.

    Raises CalledProcessError where it ends otherwise than by our SIGTERM.
    """
    command = [sys.executable, "-P", "-m", "imp_eval.cli", "serve", "--port", "0", "--bundle"]
    command += map(str, (bundle, *options))
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        while line and not line.startswith("ready on "):
            line = process.stdout.readline()
        if not line:
            raise subprocess.CalledProcessError(process.wait(), command)
        yield line.split()[-1], process
        if (status := process.poll()) is not None:
            raise subprocess.CalledProcessError(status, command)
        process.terminate()
        if status := process.wait(timeout=60):
            raise subprocess.CalledProcessError(status, command)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def memory_of(pid: int) -> float:
    """MiB resident of a process and its children."""
    pages = [int(Path(f"/proc/{p}/statm").read_text().split()[1]) for p in family_of(pid)]
    return sum(pages) * os.sysconf("SC_PAGE_SIZE") / (1 << 20)
