"""Near pairs: the banded join. Chunks -> buckets by band -> candidates -> exact check -> one file.

    Create(chunks) | Reshuffle | ParDo(Scatter) | GroupByKey | ParDo(Collide) | GroupByKey
                   | ParDo(Check) | GroupByKey | ParDo(WriteMatches)

One leaf, and nothing but Create, Reshuffle, ParDo and GroupByKey: engines that lose side outputs
and second sinks run it right. What is shuffled is packed columns of hashes, some thousands an
element; the checks read what else they need from the chunks' files.
"""

import dataclasses
import functools
import json
import pathlib
from collections.abc import Iterable, Iterator, Sequence

import apache_beam as beam
import numpy as np

from imp_data.near_duplicates import fingerprints, lsh
from imp_data.near_duplicates.alike import alike
from imp_data.near_duplicates.decisions import Match
from imp_data.near_duplicates.fingerprints import Fingerprints
from imp_data.near_duplicates.kinds import COMPARISONS, KINDS, Kind
from imp_data.near_duplicates.lsh import Bucket
from imp_data.pipelines import runner
from imp_data.stores.atomic import write_file

# Hashes that one bucket should hold at most, about.
_BUCKET = 1 << 20
_MATCHES = "matches.json"
_Candidates = tuple[tuple[Kind, int, int], np.ndarray]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Chunk:
    """A file of fingerprints; `first` numbers its first item among those of all chunks."""

    path: str
    number: int
    first: int
    reference: bool


@dataclasses.dataclass(frozen=True, kw_only=True)
class Join:
    """What to join: `within` compares the set with itself too, not only with references."""

    chunks: tuple[Chunk, ...]
    kinds: tuple[Kind, ...]
    within: bool
    num_parts: int
    out: str


def near_pairs(
    chunks: Sequence[Chunk],
    *,
    kinds: Sequence[Kind],
    within: bool,
    out: pathlib.Path,
    pipeline_options: Sequence[str],
) -> list[Match]:
    """All matches, sorted: of two chunks of the set, or one of the set and one of a reference.

    The first time they are written to a file in `out`, which later calls read. Raises RuntimeError
    when the runner lost a part of them.
    """
    path = out / _MATCHES
    if not path.is_file():
        size = sum(pathlib.Path(chunk.path).stat().st_size for chunk in chunks)
        # A hash is some 1/100 of what is kept of a row.
        num_parts = max(1, size // 100 // _BUCKET)
        job = Join(
            chunks=tuple(chunks),
            kinds=tuple(kinds),
            within=within,
            num_parts=num_parts,
            out=str(path),
        )

        def graph(pipeline: beam.Pipeline) -> None:
            _ = (
                pipeline
                | "Chunks" >> beam.Create(chunks)
                | "Spread" >> beam.Reshuffle()
                | "Scatter" >> beam.ParDo(Scatter(job))
                | "ByBand" >> beam.GroupByKey()
                | "Collide" >> beam.ParDo(Collide(job))
                | "ByChunks" >> beam.GroupByKey()
                | "Check" >> beam.ParDo(Check(job))
                | "Together" >> beam.GroupByKey()
                | "WriteMatches" >> beam.ParDo(WriteMatches(job))
            )

        runner.run(graph, pipeline_options)
    if not path.is_file():
        raise RuntimeError("no near pairs were written; run the build again")
    return [
        Match(item=item, other=other, kind=kind, similarity=similarity)
        for item, other, kind, similarity in json.loads(path.read_bytes())
    ]


class Scatter(beam.DoFn):
    """Chunk -> ((kind, band, part), Bucket); part is of the key, so equal keys meet."""

    def __init__(self, job: Join) -> None:
        self._job = job

    def process(self, chunk: Chunk) -> Iterator[tuple[tuple[Kind, int, int], Bucket]]:
        for kind in self._job.kinds:
            prints = fingerprints.load(pathlib.Path(chunk.path), kind)
            columns = COMPARISONS[kind].num_columns
            for band in range(lsh.num_bands(columns)):
                whole = lsh.bucket(
                    prints, band, num_columns=columns, chunk=chunk.number, reference=chunk.reference
                )
                part = lsh.part(whole.key, self._job.num_parts)
                for number in range(self._job.num_parts):
                    yield (kind, band, number), whole.take(np.flatnonzero(part == number))


class Collide(beam.DoFn):
    """Buckets of one key -> ((kind, chunk of queries, chunk of index), rows that collide).

    Each chunk meets itself at least, with no rows: so the checks count that none was lost.
    """

    def __init__(self, job: Join) -> None:
        self._job = job

    def process(
        self, element: tuple[tuple[Kind, int, int], Iterable[Bucket]]
    ) -> Iterator[_Candidates]:
        (kind, band, part), buckets = element
        ordered = sorted(buckets, key=lambda bucket: bucket.chunk)
        if band == part == 0:
            for bucket in ordered:
                yield (kind, bucket.chunk, bucket.chunk), np.zeros((0, 4), np.int64)
        exact = COMPARISONS[kind].num_columns > 0
        for (query, index), rows in lsh.collisions(ordered, within=self._job.within, exact=exact):
            yield (kind, query, index), rows


class Check(beam.DoFn):
    """Candidates of two chunks -> (0, (number of items seen, matches))."""

    def __init__(self, job: Join) -> None:
        self._job = job

    def process(
        self, element: tuple[tuple[Kind, int, int], Iterable[np.ndarray]]
    ) -> Iterator[tuple[int, tuple[Kind, int, list[Match]]]]:
        (kind, query, index), parts = element
        a, b = self._job.chunks[query], self._job.chunks[index]
        pairs = np.concatenate(list(parts))
        comparison = COMPARISONS[kind]
        items, scores = alike(_load(a.path, kind), _load(b.path, kind), pairs, comparison)
        matches = []
        for (left, right), score in zip(items.tolist(), scores.tolist()):
            # References are numbered last, so that a pair's first is always of the set.
            one, other = sorted((a.first + left, b.first + right))
            matches.append(Match(item=one, other=other, kind=kind, similarity=round(score, 3)))
        yield 0, (kind, query if query == index else -1, matches)


class WriteMatches(beam.DoFn):
    """All checks' matches -> one file, in order, each pair of items once."""

    def __init__(self, job: Join) -> None:
        self._job = job

    def process(
        self, element: tuple[int, Iterable[tuple[Kind, int, list[Match]]]]
    ) -> Iterator[str]:
        seen: set[tuple[Kind, int]] = set()
        best: dict[tuple[int, int], Match] = {}
        for kind, chunk, matches in element[1]:
            seen.add((kind, chunk))
            for match in matches:
                key = (match.item, match.other)
                best[key] = max(best.get(key, match), match, key=_strength)
        for kind in self._job.kinds:
            for number in range(len(self._job.chunks)):
                if (kind, number) not in seen:
                    raise RuntimeError(f"the runner lost chunk {number}; run the build again")
        rows = [[m.item, m.other, m.kind, m.similarity] for m in sorted(best.values())]
        write_file(pathlib.Path(self._job.out), json.dumps(rows).encode())
        yield self._job.out


def _strength(match: Match) -> tuple[int, float]:
    return -KINDS.index(match.kind), match.similarity


@functools.lru_cache(maxsize=16)
def _load(path: str, kind: str) -> Fingerprints:
    return fingerprints.load(pathlib.Path(path), kind)
