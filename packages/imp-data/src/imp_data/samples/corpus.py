"""Corpus: how one sample corpus is cut into chunks of work, written and finished."""

import dataclasses
import importlib.util
import zlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

EXTRA = "pip install 'imp-data[samples]'"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """One written file: its path below the corpus folder, with forward slashes."""

    path: str
    caption: str
    label: str
    split: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Chunk:
    """A second or so of work; `items` is what the corpus module understands. Picklable."""

    seed: int
    size: int
    items: Any


@dataclasses.dataclass(frozen=True, kw_only=True)
class Corpus:
    """What `write_samples` needs to know of a corpus.

    plan(seed, limit) -> chunks; write_chunk(folder, chunk) -> rows; finish(folder, rows) writes a
    manifest, if any. A chunk's files depend on nothing but the chunk, so their order is free.
    packages: those it imports, each with the distribution that brings it.
    Raise `version` when the files would change: cached folders are then written anew.
    """

    name: str
    version: int
    packages: Mapping[str, str]
    plan: Callable[[int, int | None], list[Chunk]]
    write_chunk: Callable[[Path, Chunk], list[Row]]
    finish: Callable[[Path, Sequence[Row]], None]

    def require_packages(self) -> None:
        """Raises ModuleNotFoundError, in one line, for a package that is not installed."""
        for package, distribution in self.packages.items():
            if importlib.util.find_spec(package) is None:
                raise ModuleNotFoundError(
                    f"the {self.name} samples need {distribution}: {EXTRA}", name=package
                )

    def write(
        self,
        folder: Path,
        *,
        seed: int = 0,
        limit: int | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> dict[str, int]:
        """Writes the corpus into an empty folder, in this process; returns the count of each split.

        limit: about that many examples of each split of each kind (for trials); progress(done, of).
        """
        self.require_packages()
        chunks = self.plan(seed, limit)
        total = sum(chunk.size for chunk in chunks)
        rows: list[Row] = []
        done = 0
        for chunk in chunks:
            rows += self.write_chunk(folder, chunk)
            done += chunk.size
            if progress is not None:
                progress(done, total)
        return self.complete(folder, rows)

    def complete(self, folder: Path, rows: Sequence[Row]) -> dict[str, int]:
        """Writes the manifest for rows in any order; returns the count of each split."""
        rows = sorted(rows, key=lambda row: row.path)
        assert len({row.path for row in rows}) == len(rows), f"{self.name} wrote a path twice"
        self.finish(folder, rows)
        return dict(sorted(Counter(row.split for row in rows).items()))


def rng_of(*key: int | str) -> np.random.Generator:
    """A generator that depends on the key alone: strings and whole numbers from 0."""
    words = [zlib.crc32(part.encode()) if isinstance(part, str) else part for part in key]
    return np.random.default_rng(words)


def split_seed(seed: int, split: str) -> int:
    """The test split is the same whatever the seed, so scores of two seeds compare."""
    return 0 if split == "test" else seed


def cut(items: Sequence[Any], size: int, seed: int) -> list[Chunk]:
    """Chunks of at most `size` items each, in order."""
    parts = [tuple(items[start : start + size]) for start in range(0, len(items), size)]
    return [Chunk(seed=seed, size=len(part), items=part) for part in parts]
