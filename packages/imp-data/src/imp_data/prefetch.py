"""Prefetch: a thread makes the next values while the last is used."""

import collections
import concurrent.futures
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar

J = TypeVar("J")
T = TypeVar("T")


class Prefetch(Generic[T]):
    """Iterates over make(job) for each of `jobs`, with up to `depth` values ready or in work.

    An error in `make` is raised where its value would have come.
    """

    def __init__(self, make: Callable[[J], T], jobs: Iterable[J], *, depth: int = 2) -> None:
        if depth < 1:
            raise ValueError(f"prefetch depth {depth} must be at least 1")
        self._pool = concurrent.futures.ThreadPoolExecutor(1, "prefetch")
        self._coming = (self._pool.submit(make, job) for job in jobs)
        self._pending: collections.deque[concurrent.futures.Future[T]] = collections.deque()
        self._closed = False
        for _ in range(depth):
            self._submit()

    def _submit(self) -> None:
        if (future := next(self._coming, None)) is not None:
            self._pending.append(future)

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
