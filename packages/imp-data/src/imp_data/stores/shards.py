"""Shards: which shard holds an example, and where in it. Memory is the shards', not the examples'.

A file is open while a batch is read from it and no longer, and few at a time, so that nothing has
to be closed, shared or counted, whatever the number of shards.
"""

import contextlib
import dataclasses
import itertools
import os
import pathlib
from collections.abc import Iterable, Iterator

import numpy as np

_OPEN_AT_ONCE = 64


@dataclasses.dataclass(frozen=True, eq=False)
class Shards:
    """`numbers` int64 [s] rise; `ends` int64 [s] are examples up to and with each shard."""

    numbers: np.ndarray
    ends: np.ndarray

    @classmethod
    def of(cls, counts: Iterable[tuple[int, int]]) -> "Shards":
        """From (shard's number, its examples), in any order."""
        pairs = np.array(sorted(counts), np.int64).reshape(-1, 2)
        return cls(pairs[:, 0], np.cumsum(pairs[:, 1]))

    def __len__(self) -> int:
        """Examples of all shards."""
        return int(self.ends[-1]) if len(self.ends) else 0

    def locate(self, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """int64 [b] examples -> their shards' numbers and their rows there, int64 [b] each.

        Raises IndexError for an example that there is not.
        """
        if len(index) and not (index.min() >= 0 and index.max() < len(self)):
            raise IndexError(f"examples must be within 0 and {len(self) - 1}")
        place = np.searchsorted(self.ends, index, side="right")
        firsts = np.concatenate([np.zeros(1, np.int64), self.ends])
        return self.numbers[place], index - firsts[place]

    def count(self, shard: int) -> int:
        """Examples of the shard of this number, which there must be."""
        place = int(np.searchsorted(self.numbers, shard))
        return int(self.ends[place] - (self.ends[place - 1] if place else 0))

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """(shard's number, its examples), in order."""
        return zip(self.numbers.tolist(), np.diff(self.ends, prepend=0).tolist())


def by_shard(shards: np.ndarray) -> Iterator[list[tuple[int, np.ndarray]]]:
    """int64 [b] -> each shard once, with its places in the batch, as many as to open at once."""
    order = np.argsort(shards, kind="stable")
    rising = shards[order]
    starts = np.flatnonzero(np.diff(rising, prepend=-1))
    places = np.split(order, starts[1:]) if len(starts) else []
    members = zip(rising[starts].tolist(), places)
    while group := list(itertools.islice(members, _OPEN_AT_ONCE)):
        yield group


@contextlib.contextmanager
def opened(path: pathlib.Path) -> Iterator[int]:
    """A descriptor to read at offsets. Raises ValueError where there is no such file."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        raise ValueError(
            f"{path} is missing (imp-data verify); rebuild the dataset with imp-data build"
        ) from None
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def read_ahead(descriptor: int, offset: int, length: int) -> None:
    """Says what will be read, so that a disk works on all of a batch's rows at once."""
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(descriptor, offset, length, os.POSIX_FADV_WILLNEED)
