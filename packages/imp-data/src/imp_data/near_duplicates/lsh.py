"""LSH: hashes are cut into bands, and rows that share a band's bits are candidates for a check.

Six bands of 10 or 11 bits: any two hashes that differ in up to 5 bits share a band for certain, in
8 bits four times of five, and each crop and mirror image is one more chance. (Indyk and Motwani,
"Approximate nearest neighbors", 1998.) Neighbouring bits go to different bands: what moves one
coefficient moves the next.
"""

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np

from imp_data import randomness
from imp_data.near_duplicates import dct_hash
from imp_data.near_duplicates.fingerprints import Fingerprints

_BIT_BANDS = 6
_BLOCK = 1 << 21
ABSENT, STAYS, NEW = 0, 1, 2
"""Roles of an item in a comparison: what is new meets what stays; what stays meets nothing else."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Bucket:
    """Hashes of one chunk that may share a band.

    `row`, `item` int32 [h]; `role` uint8 [h], the item's; `variant` uint8 [h], which query or index
    hash of the row it is; `key`, `hash` uint64 [h].
    """

    chunk: int
    row: np.ndarray
    item: np.ndarray
    role: np.ndarray
    variant: np.ndarray
    is_query: np.ndarray
    key: np.ndarray
    hash: np.ndarray

    def take(self, chosen: np.ndarray) -> "Bucket":
        """The hashes at these places."""
        arrays = ("row", "item", "role", "variant", "is_query", "key", "hash")
        return dataclasses.replace(self, **{name: getattr(self, name)[chosen] for name in arrays})


def num_bands(num_columns: int) -> int:
    return num_columns or _BIT_BANDS


def part(keys: np.ndarray, num_parts: int) -> np.ndarray:
    """Spreads a band's keys: uint64 [h] -> uint64 [h] below `num_parts`."""
    return randomness.mix(keys, num_parts) % np.uint64(num_parts)


def bucket(
    prints: Fingerprints, band: int, *, num_columns: int, chunk: int, roles: np.ndarray
) -> Bucket:
    """The hashes of a chunk's items but absent ones, with their key in a band.

    `roles` uint8 [n], of each item.
    """
    columns = slice(band, band + 1) if num_columns else slice(None)
    sides = [prints.query[:, columns], prints.index[:, columns]]
    rows, variants = [], []
    for side in sides:
        grid = np.indices(side.shape)
        rows.append(grid[0].ravel())
        variants.append(grid[1].ravel())
    row = np.concatenate(rows).astype(np.int32)
    hashes = np.concatenate([side.ravel() for side in sides])
    item = prints.owner[row]
    whole = Bucket(
        chunk=chunk,
        row=row,
        item=item,
        role=roles[item],
        variant=np.concatenate(variants).astype(np.uint8),
        is_query=np.arange(len(hashes)) < sides[0].size,
        key=hashes if num_columns else hashes & _band_mask(band),
        hash=hashes,
    )
    return whole.take(np.flatnonzero(whole.role != ABSENT))


def collisions(
    buckets: Sequence[Bucket], *, within: bool, exact: bool
) -> Iterator[tuple[tuple[int, int], np.ndarray]]:
    """(chunk of the query, chunk of the index), int64 [p, 4] rows and variants that collide.

    What is new meets what stays and, with `within`, what else is new. Unless `exact`, whole hashes
    must be near as well. A pair may come more than once.
    """
    for roles in [(NEW, STAYS), (STAYS, NEW), *([(NEW, NEW)] if within else [])]:
        query = _Side(buckets, is_query=True, role=roles[0])
        index = _Side(buckets, is_query=False, role=roles[1])
        yield from _meet(query, index, exact=exact)


def _meet(
    query: "_Side", index: "_Side", *, exact: bool
) -> Iterator[tuple[tuple[int, int], np.ndarray]]:
    if not len(query.key) or not len(index.key):
        return
    order = np.argsort(index.key, kind="stable")
    first = np.searchsorted(index.key[order], query.key, "left")
    counts = np.searchsorted(index.key[order], query.key, "right") - first
    for start, end in _blocks(counts):
        part = counts[start:end]
        left = np.repeat(np.arange(start, end), part)
        offset = np.arange(len(left)) - np.repeat(np.cumsum(part) - part, part)
        right = order[first[left] + offset]
        kept = (query.chunk[left] != index.chunk[right]) | (query.item[left] != index.item[right])
        left, right = left[kept], right[kept]
        if not exact:
            near = dct_hash.distance(query.hash[left], index.hash[right]) <= dct_hash.MAX_DISTANCE
            left, right = left[near], right[near]
        found = np.stack(
            [query.row[left], index.row[right], query.variant[left], index.variant[right]], axis=1
        ).astype(np.int64)
        chunks = np.stack([query.chunk[left], index.chunk[right]], axis=1)
        pairs, which = np.unique(chunks, axis=0, return_inverse=True)
        places = np.split(np.argsort(which, kind="stable"), np.cumsum(np.bincount(which))[:-1])
        for (one, other), place in zip(pairs.tolist(), places):
            yield (one, other), found[place]


class _Side:
    """The query or the index hashes of all items of a role, end to end."""

    def __init__(self, buckets: Sequence[Bucket], *, is_query: bool, role: int) -> None:
        chosen = [
            b.take(np.flatnonzero((b.is_query == is_query) & (b.role == role))) for b in buckets
        ]
        sizes = [len(b.key) for b in chosen]
        self.chunk = np.repeat([b.chunk for b in chosen], sizes)
        self.row = np.concatenate([b.row for b in chosen])
        self.item = np.concatenate([b.item for b in chosen])
        self.variant = np.concatenate([b.variant for b in chosen])
        self.key = np.concatenate([b.key for b in chosen])
        self.hash = np.concatenate([b.hash for b in chosen])


def _band_mask(band: int) -> np.uint64:
    return np.uint64(sum(1 << bit for bit in range(band, dct_hash.NUM_BITS, _BIT_BANDS)))


def _blocks(counts: np.ndarray) -> Iterator[tuple[int, int]]:
    """Runs of queries with about _BLOCK pairs, so that memory is bounded."""
    total = np.cumsum(counts)
    start = 0
    while start < len(counts):
        before = total[start - 1] if start else 0
        end = max(start + 1, int(np.searchsorted(total, before + _BLOCK, "right")))
        yield start, end
        start = end
