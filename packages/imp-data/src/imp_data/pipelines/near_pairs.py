"""Near pairs: the banded join. Chunks -> buckets by band -> candidates -> exact check -> files.

    Create(parts) | Reshuffle | ParDo(Scatter) | GroupByKey | ParDo(Collide) | GroupByKey
                  | ParDo(Check), a file of matches for each chunk

One leaf, and nothing but Create, Reshuffle, ParDo and GroupByKey: engines that lose side outputs
and second sinks run it right. What is shuffled is packed columns of hashes, some thousands an
element; the checks read what else they need from the chunks' files.
"""

import dataclasses
import functools
import json
import pathlib
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

import apache_beam as beam
import numpy as np

from imp_data.near_duplicates import fingerprints, lsh
from imp_data.near_duplicates.alike import alike
from imp_data.near_duplicates.decisions import Match
from imp_data.near_duplicates.fingerprints import Fingerprints
from imp_data.near_duplicates.kinds import KINDS, Comparison, Kind
from imp_data.near_duplicates.lsh import Bucket
from imp_data.pipelines import runner
from imp_data.stores.atomic import write_file

# Hashes that one bucket should hold at most, about.
_BUCKET = 1 << 20
SMALL = 2048
"""Items that are compared here: the first rounds are not worth a pipeline, a third of a second."""
_Key = TypeVar("_Key")
_Value = TypeVar("_Value")
_Candidates = tuple[tuple[Kind, int], tuple[int, np.ndarray]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Chunk:
    """A file of fingerprints; `first` numbers its first item among those of all chunks."""

    path: str
    number: int
    first: int
    num_items: int


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Part:
    """A chunk's items that take part in a join: `roles` uint8 [n], as `lsh` names them."""

    chunk: Chunk
    roles: np.ndarray


@dataclasses.dataclass(frozen=True, kw_only=True)
class Join:
    """What to join: `within` compares what is new with each other too."""

    chunks: dict[int, Chunk]
    comparisons: dict[Kind, Comparison]
    within: bool
    num_parts: int
    out: str

    def output(self, kind: Kind, chunk: int) -> pathlib.Path:
        """Where the matches go of which the chunk is the query's side."""
        return pathlib.Path(self.out) / f"{kind}-{chunk:06d}.json"

    @property
    def outputs(self) -> list[pathlib.Path]:
        return [self.output(kind, chunk) for kind in self.comparisons for chunk in self.chunks]


def plan(
    chunks: Sequence[Chunk],
    *,
    stay: Sequence[int],
    new: Sequence[int],
    comparisons: dict[Kind, Comparison],
    within: bool,
    out: pathlib.Path,
) -> tuple[Join, list[Part]]:
    """A join of `new` items with those that `stay` and, `within`, with each other."""
    roles = np.full(chunks[-1].first + chunks[-1].num_items, lsh.ABSENT, np.uint8)
    roles[list(stay)] = lsh.STAYS
    roles[list(new)] = lsh.NEW
    parts = []
    for chunk in chunks:
        own = roles[chunk.first : chunk.first + chunk.num_items]
        if own.any():
            parts.append(Part(chunk=chunk, roles=own))
    size = sum(pathlib.Path(part.chunk.path).stat().st_size for part in parts)
    join = Join(
        chunks={part.chunk.number: part.chunk for part in parts},
        comparisons=comparisons,
        within=within,
        # A hash is some 1/100 of what is kept of a row.
        num_parts=max(1, size // 100 // _BUCKET),
        out=str(out.resolve()),
    )
    return join, parts


def near_pairs(join: Join, parts: Sequence[Part], pipeline_options: Sequence[str]) -> list[Match]:
    """All matches, sorted, each pair of items once.

    The first time they are written to files, which later calls read. Raises RuntimeError when the
    runner lost a part of them.
    """

    def graph(pipeline: beam.Pipeline) -> None:
        _ = (
            pipeline
            | "Parts" >> beam.Create(parts)
            | "Spread" >> beam.Reshuffle()
            | "Scatter" >> beam.ParDo(Scatter(join))
            | "ByBand" >> beam.GroupByKey()
            | "Collide" >> beam.ParDo(Collide(join))
            | "ByChunk" >> beam.GroupByKey()
            | "Check" >> beam.ParDo(Check(join))
        )

    if not all(path.is_file() for path in join.outputs):
        if sum(np.count_nonzero(part.roles) for part in parts) <= SMALL:
            _run_here(join, parts)
        else:
            runner.run(graph, pipeline_options)
    best: dict[tuple[int, int], Match] = {}
    for kind in join.comparisons:
        for number in join.chunks:
            path = join.output(kind, number)
            if not path.is_file():
                raise RuntimeError(f"the runner lost chunk {number}; run the build again")
            for one, other, similarity in json.loads(path.read_bytes()):
                match = Match(item=one, other=other, kind=kind, similarity=similarity)
                best[one, other] = max(best.get((one, other), match), match, key=_strength)
    return sorted(best.values())


def _run_here(join: Join, parts: Sequence[Part]) -> None:
    """The same steps as a plain loop."""
    buckets = _grouped(pair for part in parts for pair in Scatter(join).process(part))
    pairs = _grouped(pair for own in buckets.items() for pair in Collide(join).process(own))
    for candidates in pairs.items():
        list(Check(join).process(candidates))


def _grouped(pairs: Iterable[tuple[_Key, _Value]]) -> dict[_Key, list[_Value]]:
    groups: dict[_Key, list[_Value]] = {}
    for key, value in pairs:
        groups.setdefault(key, []).append(value)
    return groups


class Scatter(beam.DoFn):
    """Part -> ((kind, band, bucket), Bucket); the bucket is of the key, so equal keys meet."""

    def __init__(self, join: Join) -> None:
        self._join = join

    def process(self, part: Part) -> Iterator[tuple[tuple[Kind, int, int], Bucket]]:
        chunk, num_parts = part.chunk, self._join.num_parts
        for kind, comparison in self._join.comparisons.items():
            prints = _load(chunk.path, kind)
            columns = comparison.num_columns
            for band in range(lsh.num_bands(columns)):
                whole = lsh.bucket(
                    prints, band, num_columns=columns, chunk=chunk.number, roles=part.roles
                )
                numbers = lsh.part(whole.key, num_parts)
                for number in range(num_parts):
                    yield (kind, band, number), whole.take(np.flatnonzero(numbers == number))


class Collide(beam.DoFn):
    """Buckets of one key -> ((kind, chunk of queries), (chunk of index, rows that collide)).

    Each chunk meets itself at least, with no rows: so each leaves a file, and none is lost unseen.
    """

    def __init__(self, join: Join) -> None:
        self._join = join

    def process(
        self, element: tuple[tuple[Kind, int, int], Iterable[Bucket]]
    ) -> Iterator[_Candidates]:
        (kind, band, part), buckets = element
        ordered = sorted(buckets, key=lambda bucket: bucket.chunk)
        if band == part == 0:
            for bucket in ordered:
                yield (kind, bucket.chunk), (bucket.chunk, np.zeros((0, 4), np.int64))
        exact = self._join.comparisons[kind].num_columns > 0
        for (query, index), rows in lsh.collisions(ordered, within=self._join.within, exact=exact):
            yield (kind, query), (index, rows)


class Check(beam.DoFn):
    """A chunk's candidates -> its file: [item, other, similarity] of those alike, item < other."""

    def __init__(self, join: Join) -> None:
        self._join = join

    def process(
        self, element: tuple[tuple[Kind, int], Iterable[tuple[int, np.ndarray]]]
    ) -> Iterator[str]:
        if runner.is_stopping():
            return
        (kind, query), candidates = element
        by_index: dict[int, list[np.ndarray]] = {}
        for index, rows in candidates:
            by_index.setdefault(index, []).append(rows)
        a = self._join.chunks[query]
        matches: list[tuple[int, int, float]] = []
        for index, parts in sorted(by_index.items()):
            b = self._join.chunks[index]
            items, scores = alike(
                _load(a.path, kind),
                _load(b.path, kind),
                np.concatenate(parts),
                self._join.comparisons[kind],
            )
            for (left, right), score in zip(items.tolist(), scores.tolist()):
                one, other = sorted((a.first + left, b.first + right))
                matches.append((one, other, round(score, 3)))
        path = self._join.output(kind, query)
        write_file(path, json.dumps(sorted(matches)).encode())
        yield str(path)


def _strength(match: Match) -> tuple[int, float]:
    return -KINDS.index(match.kind), match.similarity


@functools.lru_cache(maxsize=16)
def _load(path: str, kind: str) -> Fingerprints:
    return fingerprints.load(pathlib.Path(path), kind)
