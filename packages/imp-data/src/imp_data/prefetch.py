"""Prefetch: a thread makes the next values while the last is used."""

import collections
import concurrent.futures
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class Prefetch(Generic[T]):
    """Iterates over make(start), make(start + 1), … with up to `depth` values ready or in work.

    An error in `make` is raised where its value would have come.
    """

    def __init__(
        self, make: Callable[[int], T], *, start: int = 0, stop: int | None = None, depth: int = 2
    ) -> None:
        if depth < 1:
            raise ValueError(f"prefetch depth {depth} must be at least 1")
        self._make = make
        self._next, self._stop = start, stop
        self._pool = concurrent.futures.ThreadPoolExecutor(1, "prefetch")
        self._pending: collections.deque[concurrent.futures.Future[T]] = collections.deque()
        self._closed = False
        for _ in range(depth):
            self._submit()

    def _submit(self) -> None:
        if self._stop is None or self._next < self._stop:
            self._pending.append(self._pool.submit(self._make, self._next))
            self._next += 1

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        if self._closed or not self._pending:
            self.close()
            raise StopIteration
        value = self._pending.popleft().result()
        self._submit()
        return value

    def close(self) -> None:
        """Ends the iteration; waits for the value in work at most. May be called twice."""
        self._closed = True
        self._pending.clear()
        self._pool.shutdown(cancel_futures=True)
