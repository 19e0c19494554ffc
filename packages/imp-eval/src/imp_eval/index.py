"""Index: vectors with ids and metadata, searched exactly, in memory."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np


@dataclasses.dataclass(frozen=True, kw_only=True)
class Hit:
    """A found item; `score` is its cosine with the query."""

    id: str
    score: float
    metadata: dict[str, str]


def unit(vector: np.ndarray, dim: int) -> np.ndarray:
    """The vector at length 1, float32 [dim]. Raises ValueError where that can't be."""
    if vector.shape != (dim,):
        raise ValueError(f"a vector of {vector.size} numbers; this collection has {dim}")
    if not np.isfinite(vector).all():
        place = int(np.flatnonzero(~np.isfinite(vector))[0])
        raise ValueError(f"number {place} of the vector is {vector[place]}; all must be finite")
    wide = vector.astype(np.float64)  # squares of large float32s overflow
    norm = np.linalg.norm(wide)
    if norm == 0:
        raise ValueError("the vector is all zeros, which has no direction")
    return (wide / norm).astype(np.float32)


class Index:
    """Not thread-safe: its owner takes turns. Vectors are rows of one growing float32 matrix."""

    def __init__(self, dim: int) -> None:
        self._matrix = np.empty((0, dim), np.float32)
        self._ids: list[str] = []
        self._rows: dict[str, int] = {}
        self._metadata: list[dict[str, str]] = []

    def __len__(self) -> int:
        return len(self._ids)

    @property
    def ids(self) -> list[str]:
        return list(self._ids)

    @property
    def vectors(self) -> np.ndarray:
        """float32 [n, k], in the order of `ids`; a view, valid until the next change."""
        return self._matrix[: len(self._ids)]

    @property
    def metadata(self) -> list[dict[str, str]]:
        return list(self._metadata)

    def upsert(
        self, ids: Sequence[str], vectors: np.ndarray, metadata: Sequence[Mapping[str, str]]
    ) -> None:
        """Adds or replaces; of an id given twice the later one stays. `vectors` float32 [n, k]."""
        assert len(ids) == len(vectors) == len(metadata)
        self._reserve(len(self._ids) + len(ids))
        for key, vector, fields in zip(ids, vectors, metadata, strict=True):
            row = self._rows.setdefault(key, len(self._ids))
            if row == len(self._ids):
                self._ids.append(key)
                self._metadata.append(dict(fields))
            else:
                self._metadata[row] = dict(fields)
            self._matrix[row] = vector

    def delete(self, ids: Sequence[str]) -> int:
        """How many of them were there. The last row takes a deleted one's place."""
        deleted = 0
        for key in ids:
            row = self._rows.pop(key, None)
            if row is None:
                continue
            deleted += 1
            last_id, last_fields = self._ids.pop(), self._metadata.pop()
            if row < len(self._ids):
                self._matrix[row] = self._matrix[len(self._ids)]
                self._ids[row], self._metadata[row] = last_id, last_fields
                self._rows[last_id] = row
        return deleted

    def search(self, vector: np.ndarray, k: int) -> list[Hit]:
        """The k highest cosines with `vector` (float32 [k], of length 1); equal ones by id."""
        k = min(k, len(self._ids))
        if k == 0:
            return []
        scores = self.vectors @ vector
        least = np.partition(scores, len(scores) - k)[len(scores) - k]
        # Everything that ties with the k-th takes part, so that ids and not rows decide.
        rows = np.flatnonzero(scores >= least)
        best = sorted(rows, key=lambda row: (-scores[row], self._ids[row]))[:k]
        return [
            Hit(id=self._ids[r], score=float(scores[r]), metadata=dict(self._metadata[r]))
            for r in best
        ]

    def _reserve(self, size: int) -> None:
        if size > len(self._matrix):
            capacity = max(size, 2 * len(self._matrix), 64)
            grown = np.empty((capacity, self._matrix.shape[1]), np.float32)
            grown[: len(self._ids)] = self.vectors
            self._matrix = grown
