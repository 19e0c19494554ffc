"""A stream's work: many requests at once, their answers in order, a bounded number between."""

import asyncio
import collections
import contextlib
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable
from typing import TypeVar

R = TypeVar("R")
S = TypeVar("S")


class Drain:
    """Says once, to whoever listens, that the server is going away."""

    def __init__(self) -> None:
        self.begun = False
        self._listeners: set[Callable[[], object]] = set()

    def begin(self) -> None:
        self.begun = True
        for listener in list(self._listeners):
            listener()

    @contextlib.contextmanager
    def listening(self, listener: Callable[[], object]) -> "collections.abc.Iterator[None]":
        self._listeners.add(listener)
        try:
            yield
        finally:
            self._listeners.discard(listener)


async def in_order(
    requests: AsyncIterable[R],
    answer: Callable[[R], Awaitable[S]],
    *,
    weight: Callable[[R], float],
    window: float,
    drain: Drain,
) -> AsyncGenerator[S, None]:
    """answer(request) for each, in their order, however these overlap.

    Requests are read only while the weight of those read and not yet answered is below `window`, so
    that a slow reader holds up a fast writer. It ends with the requests, or when `drain` has begun.
    """
    begun: asyncio.Queue[tuple[asyncio.Future[S], float] | None] = asyncio.Queue()
    open_weight = 0.0
    room = asyncio.Event()
    room.set()

    async def read() -> None:
        nonlocal open_weight
        try:
            async for request in requests:
                own = weight(request)
                open_weight += own
                if open_weight >= window:
                    room.clear()
                begun.put_nowait((asyncio.ensure_future(answer(request)), own))
                await room.wait()
                if drain.begun:
                    return
        finally:
            begun.put_nowait(None)

    reader = asyncio.create_task(read())
    unanswered: set[asyncio.Future[S]] = set()
    try:
        with drain.listening(reader.cancel):
            while (entry := await begun.get()) is not None:
                task, own = entry
                unanswered.add(task)
                result = await task
                unanswered.discard(task)
                yield result
                open_weight -= own
                if open_weight < window:
                    room.set()
        if not reader.cancelled() and reader.done() and (error := reader.exception()) is not None:
            raise error
    finally:
        reader.cancel()
        while not begun.empty():
            if (entry := begun.get_nowait()) is not None:
                unanswered.add(entry[0])
        for task in unanswered:
            task.cancel()
        # Awaited, or their errors would be told as never retrieved.
        await asyncio.gather(reader, *unanswered, return_exceptions=True)
