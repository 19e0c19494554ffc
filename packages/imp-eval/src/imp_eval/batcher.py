"""Batcher: items of many callers, gathered into the encoder's batches.

A lane per (source, target) pair. A lane is due when it fills a batch, or when its oldest item has
waited `max_delay`; due lanes take turns, so that a flood of one modality doesn't starve the others.
The encoder runs in one thread of its own and the event loop never waits for it.
"""

import asyncio
import collections
import concurrent.futures
import contextlib
import dataclasses
from collections.abc import Iterator

import numpy as np

from imp_eval.inference import Encoder, Pair


class OverloadedError(RuntimeError):
    """The queue is full; `retry_after` in seconds is about when it won't be."""

    def __init__(self, message: str, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class ComputeError(RuntimeError):
    """The encoder itself failed on a batch."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class _Item:
    array: np.ndarray
    arrived: float
    deadline: float | None
    future: asyncio.Future[np.ndarray]


class Batcher:
    """Made, used and closed within one event loop."""

    def __init__(
        self, encoder: Encoder, *, max_delay: float = 0.002, max_pending: int = 1024
    ) -> None:
        """`max_delay` in seconds; `max_pending` items admitted and not yet answered."""
        if max_delay < 0 or max_pending < 1:
            raise ValueError(
                f"max delay {max_delay} s must be at least 0, max pending {max_pending} at least 1"
            )
        self._encoder = encoder
        self._max_delay = max_delay
        self._max_pending = max_pending
        self._num_pending = 0
        self._seconds_per_item = 0.01
        self._lanes: dict[Pair, collections.deque[_Item]] = {
            pair: collections.deque() for pair in encoder.pairs
        }
        self._wake = asyncio.Event()
        self._closing = False
        self._thread = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="encoder")
        self._runner = asyncio.create_task(self._run())

    @contextlib.contextmanager
    def admit(self, num_items: int) -> Iterator[None]:
        """Room for `num_items` from before they are decoded until they are answered.

        Raises OverloadedError when there is none, before any work is spent.
        """
        if self._num_pending + num_items > self._max_pending:
            raise OverloadedError(
                f"{self._num_pending} items are pending and {num_items} more would pass the bound "
                f"of {self._max_pending}; try again later",
                retry_after=self._max_delay + self._num_pending * self._seconds_per_item,
            )
        self._num_pending += num_items
        try:
            yield
        finally:
            self._num_pending -= num_items

    async def embed(
        self, array: np.ndarray, pair: Pair, *, deadline: float | None = None
    ) -> np.ndarray:
        """One input of the pair's source -> float32 [k]. `deadline` is on the event loop's clock.

        Raises TimeoutError when the deadline passes before the item's turn, ComputeError when the
        encoder fails. A cancelled caller's item is skipped.
        """
        assert not self._closing, "embed after close"
        loop = asyncio.get_running_loop()
        future: asyncio.Future[np.ndarray] = loop.create_future()
        self._lanes[pair].append(
            _Item(array=array, arrived=loop.time(), deadline=deadline, future=future)
        )
        self._wake.set()
        return await future

    async def close(self) -> None:
        """Answers what is queued, then stops."""
        self._closing = True
        self._wake.set()
        await self._runner
        self._thread.shutdown()

    async def _run(self) -> None:
        while (pair := await self._next_lane()) is not None:
            items = self._take(pair)
            if items:
                await self._compute(pair, items)

    async def _next_lane(self) -> Pair | None:
        """The lane whose turn it is, once one is due; None when closing and all are empty."""
        loop = asyncio.get_running_loop()
        while True:
            self._wake.clear()
            waiting = [(pair, lane) for pair, lane in self._lanes.items() if lane]
            due_at = min((lane[0].arrived + self._max_delay for _, lane in waiting), default=None)
            now = loop.time()
            for pair, lane in waiting:
                full = len(lane) >= self._encoder.batch_size
                if full or self._closing or now >= lane[0].arrived + self._max_delay:
                    self._lanes[pair] = self._lanes.pop(pair)  # to the end: the others come first
                    return pair
            if self._closing:
                return None
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(due_at):
                    await self._wake.wait()

    def _take(self, pair: Pair) -> list[_Item]:
        lane, now = self._lanes[pair], asyncio.get_running_loop().time()
        items: list[_Item] = []
        while lane and len(items) < self._encoder.batch_size:
            item = lane.popleft()
            if item.future.done():  # its caller has gone
                continue
            if item.deadline is not None and now >= item.deadline:
                item.future.set_exception(TimeoutError("the deadline passed in the queue"))
                continue
            items.append(item)
        return items

    async def _compute(self, pair: Pair, items: list[_Item]) -> None:
        loop = asyncio.get_running_loop()
        start = loop.time()
        work = loop.run_in_executor(
            self._thread,
            lambda: self._encoder.embed(pair[0], np.stack([item.array for item in items]), pair),
        )
        await asyncio.wait([work])
        error = work.exception()
        for row, item in enumerate(items):
            if item.future.done():
                continue
            if error is None:
                item.future.set_result(work.result()[row])
            else:
                failure = ComputeError(f"the encoder failed: {error}")
                failure.__cause__ = error
                item.future.set_exception(failure)
        taken = (loop.time() - start) / len(items)
        self._seconds_per_item += 0.1 * (taken - self._seconds_per_item)
