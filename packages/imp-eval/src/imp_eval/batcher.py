"""Batcher: items of many callers, gathered into the encoder's batches.

A lane per bucket: modality, shape and head. A lane is due when it fills a batch, or when its
oldest item has waited `max_delay`; due lanes take turns, and each modality has room of its own in
the queue, so that a flood of one neither starves nor shuts out the others. The encoder runs in one
thread of its own and the event loop never waits for it.
"""

import asyncio
import collections
import concurrent.futures
import contextlib
import dataclasses
import math
import time
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np

from imp_eval.inference import Encoder, Pair
from imp_eval.metrics import Metrics
from imp_eval.tracing import span


class OverloadedError(RuntimeError):
    """The queue is full; `retry_after` in seconds is about when it won't be."""

    def __init__(self, message: str, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class ComputeError(RuntimeError):
    """The encoder itself failed on a batch."""


class _Bucket(NamedTuple):
    """`head` is the target of an embedding, or the name of one of the bundle's classifiers."""

    modality: str
    shape: tuple[int, ...]
    head: str
    is_classifier: bool

    def __str__(self) -> str:
        shape = "x".join(map(str, self.shape))
        return f"{self.modality}-{shape}>{'classifier/' * self.is_classifier}{self.head}"


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class _Item:
    array: np.ndarray
    arrived: float
    deadline: float | None
    future: asyncio.Future[np.ndarray]


class Batcher:
    """Made, used and closed within one event loop."""

    def __init__(
        self,
        encoder: Encoder,
        *,
        max_delay: float = 0.002,
        max_pending: int = 1024,
        max_wait: float = math.inf,
        metrics: Metrics | None = None,
    ) -> None:
        """`max_delay` in seconds; `max_pending` items of a modality admitted and not answered;
        `max_wait` is how many seconds an item may be expected to take once it is admitted."""
        if max_delay < 0 or max_pending < 1 or max_wait <= 0:
            raise ValueError(
                f"max delay {max_delay} s must be at least 0, max pending {max_pending} at least "
                f"1, max wait {max_wait} s above 0"
            )
        self._encoder = encoder
        self._max_delay = max_delay
        self._max_pending = max_pending
        self._max_wait = max_wait
        self._metrics = metrics or Metrics()
        self._pending: collections.Counter[str] = collections.Counter()
        self._freed = asyncio.Event()
        # Of a batch, by modality.
        self._seconds: dict[str, float] = {}
        # The batch that is being encoded, since when, and the one behind it: modality and items.
        self._submitted: collections.deque[tuple[str, int]] = collections.deque()
        self._began = 0.0
        self._lanes: dict[_Bucket, collections.deque[_Item]] = {}
        self._num_turns = 0
        self._last_turn: dict[_Bucket, int] = {}
        self._wake = asyncio.Event()
        self._closing = False
        self._thread = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="encoder")
        self._runner = asyncio.create_task(self._run())

    @property
    def pending(self) -> Mapping[str, int]:
        """Items admitted and not yet answered, by modality."""
        return self._pending

    @contextlib.contextmanager
    def admit(self, counts: Mapping[str, int]) -> Iterator[None]:
        """Room for so many items of each modality from before they are decoded until they are
        answered. An empty queue takes any number.

        Raises OverloadedError when there is none, before any work is spent.
        """
        for modality, count in counts.items():
            there = self._pending[modality]
            if there and there + count > self._max_pending:
                raise OverloadedError(
                    f"{there} items of {modality} are pending and {count} more would pass the "
                    f"bound of {self._max_pending}; try again later",
                    retry_after=self._max_delay + self._expected({}),
                )
        if self._max_wait < math.inf and self._pending.total():
            expected = self._expected(counts)
            if expected > self._max_wait:
                raise OverloadedError(
                    f"this would take about {expected:.2g} s, over the bound of "
                    f"{self._max_wait:g} s; try again later",
                    retry_after=self._max_delay + expected - self._max_wait,
                )
        self._pending.update(counts)
        try:
            yield
        finally:
            self._pending.subtract(counts)
            self._freed.set()

    async def room(self, counts: Mapping[str, int]) -> contextlib.ExitStack:
        """As `admit`, once there is room: for callers who can wait, as streams do."""
        while True:
            admission = self.admit(counts)
            try:
                admission.__enter__()
            except OverloadedError:
                self._freed.clear()
                await self._freed.wait()
            else:
                leaving = contextlib.ExitStack()
                leaving.push(admission.__exit__)
                return leaving

    async def embed(
        self, array: np.ndarray, pair: Pair, *, deadline: float | None = None
    ) -> np.ndarray:
        """One input of the pair's source -> float32 [k]. `deadline` is on the event loop's clock.

        Raises TimeoutError when the deadline passes before the item's turn, ComputeError when the
        encoder fails. A cancelled caller's item is skipped.
        """
        return await self._queue(array, pair[0], pair[1], False, deadline)

    async def classify(
        self, array: np.ndarray, modality: str, classifier: str, *, deadline: float | None = None
    ) -> np.ndarray:
        """One input -> the logits of the bundle's classifier, float32 [y]. Else as `embed`."""
        return await self._queue(array, modality, classifier, True, deadline)

    async def close(self) -> None:
        """Answers what is queued, then stops."""
        self._closing = True
        self._wake.set()
        await self._runner
        self._thread.shutdown()

    async def _queue(
        self,
        array: np.ndarray,
        modality: str,
        head: str,
        is_classifier: bool,
        deadline: float | None,
    ) -> np.ndarray:
        assert not self._closing, "an item after close"
        loop = asyncio.get_running_loop()
        future: asyncio.Future[np.ndarray] = loop.create_future()
        array = self._encoder.cut(modality, array)
        bucket = _Bucket(modality, array.shape, head, is_classifier)
        lane = self._lanes.setdefault(bucket, collections.deque())
        lane.append(_Item(array=array, arrived=loop.time(), deadline=deadline, future=future))
        if len(lane) in (1, self._encoder.batch_size):  # else nothing has become due
            self._wake.set()
        with span("encode", bucket=str(bucket)):
            return await future

    async def _run(self) -> None:
        running: set[asyncio.Task[None]] = set()
        while (bucket := await self._next_lane()) is not None:
            if items := self._take(bucket):
                if not self._submitted:
                    self._began = asyncio.get_running_loop().time()
                self._submitted.append((bucket.modality, len(items)))
                task = asyncio.create_task(self._compute(bucket, items))
                running.add(task)
                task.add_done_callback(running.discard)
        await asyncio.gather(*running)

    async def _next_lane(self) -> _Bucket | None:
        """The lane whose turn it is, once one is due; None when closing and all are empty.

        While the encoder is busy only a full lane is, and one alone, so that the encoder need not
        wait for the event loop; the others may yet fill.
        """
        loop = asyncio.get_running_loop()
        while True:
            self._wake.clear()
            busy = len(self._submitted)
            waiting = [(bucket, lane) for bucket, lane in self._lanes.items() if lane]
            if self._closing and not waiting:
                return None
            now = loop.time()
            full = [b for b, lane in waiting if len(lane) >= self._encoder.batch_size]
            late = [b for b, lane in waiting if now >= lane[0].arrived + self._max_delay]
            # One that is late and not full would otherwise never find the encoder idle.
            ahead = busy == 1 and set(late) <= set(full)
            due = [b for b, _ in waiting if self._closing or b in full or b in late]
            if due and (not busy or ahead):
                self._num_turns += 1
                first = min(due, key=lambda bucket: self._last_turn.get(bucket, 0))
                self._last_turn[first] = self._num_turns
                return first
            due_at = min((lane[0].arrived + self._max_delay for _, lane in waiting), default=None)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(None if busy else due_at):
                    await self._wake.wait()

    def _take(self, bucket: _Bucket) -> list[_Item]:
        lane, now = self._lanes[bucket], asyncio.get_running_loop().time()
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

    async def _compute(self, bucket: _Bucket, items: list[_Item]) -> None:
        loop, encoder, modality = asyncio.get_running_loop(), self._encoder, bucket.modality

        def compute() -> tuple[np.ndarray, float]:
            began = time.monotonic()
            if all(item.future.done() for item in items):  # while another batch was encoded
                return np.empty((len(items), 0), np.float32), 0.0
            arrays = np.stack([item.array for item in items])
            if bucket.is_classifier:
                rows = encoder.classify(modality, arrays, bucket.head)
            else:
                rows = encoder.embed(modality, arrays, (modality, bucket.head))
            return rows, time.monotonic() - began

        work = loop.run_in_executor(self._thread, compute)
        await asyncio.wait([work])
        now = loop.time()
        self._submitted.popleft()
        self._began = now
        self._wake.set()
        if (error := work.exception()) is not None:
            for item in items:
                if not item.future.done():
                    failure = ComputeError(f"the encoder failed: {error}")
                    failure.__cause__ = error
                    item.future.set_exception(failure)
            return
        rows, seconds = work.result()
        for row, item in zip(rows, items, strict=True):
            if not item.future.done():
                item.future.set_result(row)
        self._metrics.batch(str(bucket), len(items), encoder.batch_size)
        for item in items:
            self._metrics.stage("batch_queue", modality, max(0.0, now - item.arrived - seconds))
            self._metrics.stage("encode", modality, seconds)
        # A batch takes as long however full it is.
        known = self._seconds.get(modality, seconds)
        self._seconds[modality] = known + 0.2 * (seconds - known)

    def _expected(self, more: Mapping[str, int]) -> float:
        """About how many seconds it takes to encode what is pending and so many items more."""
        waiting = self._pending + collections.Counter(more)
        expected = 0.0
        for place, (modality, count) in enumerate(self._submitted):
            waiting[modality] -= count
            elapsed = 0.0 if place else asyncio.get_running_loop().time() - self._began
            expected += max(0.0, self._seconds.get(modality, 0.0) - elapsed)
        return expected + sum(
            math.ceil(max(0, count) / self._encoder.batch_size) * self._seconds.get(modality, 0.0)
            for modality, count in waiting.items()
        )
