"""Load on a running server: closed loops of callers, or arrivals at a rate, and what they met."""

import asyncio
import collections
import dataclasses
import random
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence

import numpy as np

from imp_eval.async_client import AsyncClient
from imp_eval.inputs import Input, ItemFailure
from imp_eval.retries import ServiceError

# The number of a call -> its end, and how many items it had.
Work = Callable[[int], Awaitable[int]]


@dataclasses.dataclass(kw_only=True)
class Met:
    """What callers met: seconds of each call that was answered, and of each that was refused, by
    gRPC's code; and how many items the former had, within `seconds`."""

    latencies: list[float] = dataclasses.field(default_factory=list)
    refusals: dict[str, list[float]] = dataclasses.field(
        default_factory=lambda: collections.defaultdict(list)
    )
    num_items: int = 0
    seconds: float = 0.0

    def percentile(self, q: float) -> float:
        """Seconds within which `q` % of the answered calls ended; NaN without any."""
        return float(np.percentile(self.latencies, q)) if self.latencies else float("nan")

    def __str__(self) -> str:
        times = ", ".join(f"p{q:g} {1e3 * self.percentile(q):.1f} ms" for q in (50, 95, 99))
        refused = "".join(
            f"; {len(found)} {code} in {1e3 * float(np.percentile(found, 99)):.1f} ms (p99)"
            for code, found in sorted(self.refusals.items())
        )
        rate = self.num_items / max(self.seconds, 1e-9)
        return f"{rate:,.1f} items/s, {len(self.latencies)} calls: {times}{refused}"


def embedding(client: AsyncClient, inputs: Sequence[Input], target: str, size: int) -> Work:
    """Calls of `size` inputs each, which go round. Raises ValueError for one that has no result."""

    async def work(number: int) -> int:
        chosen = [inputs[(number * size + i) % len(inputs)] for i in range(size)]
        for result in await client.embed(chosen, target):
            if isinstance(result, ItemFailure):
                raise ValueError(f"an input has no embedding: {result.message}")
        return size

    return work


async def closed_loop(work: Work, *, callers: int, seconds: float) -> Met:
    """`callers` who call again as soon as they are answered."""
    met, began, numbers = Met(), time.monotonic(), iter(range(1 << 62))

    async def caller() -> None:
        while time.monotonic() - began < seconds:
            await _timed(work, next(numbers), time.monotonic(), met)

    await asyncio.gather(*(caller() for _ in range(callers)))
    met.seconds = time.monotonic() - began
    return met


async def open_loop(work: Work, *, rate: float, seconds: float, seed: int = 0) -> Met:
    """Arrivals at `rate` a second on average, whatever became of those before (a Poisson process);
    a call's time counts from when it was due."""
    rng, met, began = random.Random(seed), Met(), time.monotonic()
    calls: set[asyncio.Task[None]] = set()
    due, number = began, 0
    while (due := due + rng.expovariate(rate)) - began < seconds:
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        call = asyncio.create_task(_timed(work, number, due, met))
        calls.add(call)
        call.add_done_callback(calls.discard)
        number += 1
    await asyncio.gather(*calls)
    met.seconds = time.monotonic() - began
    return met


async def stream_loop(
    client: AsyncClient, inputs: Sequence[Input], target: str, *, streams: int, seconds: float
) -> Met:
    """Streams that take inputs for so long; a latency is an input's time from being taken."""
    met, began = Met(), time.monotonic()

    def feed(taken: collections.deque[float]) -> Iterator[Input]:
        number = 0
        while time.monotonic() - began < seconds:
            taken.append(time.monotonic())
            yield inputs[number % len(inputs)]
            number += 1

    async def stream() -> None:
        taken: collections.deque[float] = collections.deque()
        async for result in client.embed_stream(feed(taken), target):
            if isinstance(result, ItemFailure):
                raise ValueError(f"an input has no embedding: {result.message}")
            met.latencies.append(time.monotonic() - taken.popleft())
            met.num_items += 1

    await asyncio.gather(*(stream() for _ in range(streams)))
    met.seconds = time.monotonic() - began
    return met


async def _timed(work: Work, number: int, since: float, met: Met) -> None:
    try:
        items = await work(number)
    except ServiceError as error:
        met.refusals[error.code].append(time.monotonic() - since)
    else:
        met.num_items += items
        met.latencies.append(time.monotonic() - since)
