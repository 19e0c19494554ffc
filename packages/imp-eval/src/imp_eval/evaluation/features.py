"""Examples -> pooled encodings: decoded ahead in threads, encoded in batches, cached in chunks.

A chunk's file is named by the bundle, the view, the number of clips and the fingerprints of its
examples: a rerun reads it, an interrupted run goes on from it, and a changed file is embedded anew.

Legend: n examples, m clips of all of them, d width, k numbers in an embedding.
"""

import collections
import concurrent.futures
import dataclasses
import hashlib
import io
import itertools
import json
import os
import pathlib
import zipfile
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from imp_data.stores.atomic import write_file
from imp_data.views import to_json
from imp_eval.evaluation.examples import Examples
from imp_eval.evaluation.pooling import Pair, PooledEncoder

# Raised when what a file decodes to changes: what is cached by the code before is then made anew.
_FORMAT = 1
_CHUNK = 512
_THREADS = min(32, (os.cpu_count() or 1) + 1)


@dataclasses.dataclass(frozen=True)
class Features:
    """`pooled` float32 [m, d], the clips of each example together; `counts` int64 [n], how many
    they are: 0 where `problems`, by example, says why there is none."""

    pooled: np.ndarray
    counts: np.ndarray
    problems: dict[int, str]

    @property
    def usable(self) -> np.ndarray:
        """The examples that have clips: int64 [n or fewer]."""
        return np.flatnonzero(self.counts)

    def mean(self) -> np.ndarray:
        """Of each usable example, float32 [usable, d]."""
        return _averaged(self.pooled, self.counts[self.usable])

    def embeddings(self, encoder: PooledEncoder, pair: Pair) -> np.ndarray:
        """Of each usable example the mean of its clips' embeddings, of length 1: [usable, k]."""
        mean = _averaged(encoder.embed(self.pooled, pair), self.counts[self.usable])
        norm = np.linalg.norm(mean, axis=1, keepdims=True)
        return mean / np.maximum(norm, np.float32(1e-12))


def _averaged(rows: np.ndarray, counts: np.ndarray) -> np.ndarray:
    if not len(counts):
        return np.zeros((0, rows.shape[1]), np.float32)
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    return (np.add.reduceat(rows, starts, axis=0) / counts[:, None]).astype(np.float32)


def extract(
    encoder: PooledEncoder,
    modality: str,
    examples: Examples,
    *,
    num_clips: int = 1,
    cache: pathlib.Path | None = None,
    advance: Callable[[int], object] = lambda done: None,
    num_threads: int = _THREADS,
) -> Features:
    """Every example's features; `advance` hears of examples as they are done."""
    view = encoder.views[modality]
    kind = [_FORMAT, encoder.digest, to_json(view), num_clips]
    chunks = [range(i, min(i + _CHUNK, len(examples))) for i in range(0, len(examples), _CHUNK)]
    paths = [None if cache is None else _path(cache, kind, examples, chunk) for chunk in chunks]
    cached = [None if path is None else _read(path) for path in paths]
    missing = [i for chunk, found in zip(chunks, cached, strict=True) if not found for i in chunk]

    # A disk or network may be well again the next time. What is not there has another fingerprint
    # when it is.
    passing: set[int] = set()

    def load(index: int) -> np.ndarray | str:
        try:
            return examples.load(index, view, num_clips)
        except (OSError, ValueError) as error:
            if isinstance(error, OSError) and not isinstance(error, FileNotFoundError):
                passing.add(index)
            return " ".join(str(error).split()) or type(error).__name__

    parts: list[Features] = []
    with concurrent.futures.ThreadPoolExecutor(num_threads) as pool:
        loaded = _ahead(pool, load, missing, 2 * num_threads)
        for chunk, path, found in zip(chunks, paths, cached, strict=True):
            if found is None:
                found = _encode(encoder, modality, itertools.islice(loaded, len(chunk)), advance)
                if path is not None and passing.isdisjoint(chunk):
                    _write(path, found)
            else:
                advance(len(chunk))
            parts.append(found)
    return _joined(parts, encoder.dim)


def _ahead(
    pool: concurrent.futures.Executor,
    load: Callable[[int], np.ndarray | str],
    indices: Sequence[int],
    depth: int,
) -> Iterator[np.ndarray | str]:
    """load(index) in order, at most `depth` of them ready or in work: arrays may be large."""
    waiting = iter(indices)
    pending = collections.deque(pool.submit(load, i) for i in itertools.islice(waiting, depth))
    while pending:
        done = pending.popleft().result()
        pending.extend(pool.submit(load, i) for i in itertools.islice(waiting, 1))
        yield done


def _encode(
    encoder: PooledEncoder,
    modality: str,
    loaded: Iterator[np.ndarray | str],
    advance: Callable[[int], object],
) -> Features:
    counts: list[int] = []
    problems: dict[int, str] = {}
    pooled: list[np.ndarray] = [np.zeros((0, encoder.dim), np.float32)]
    waiting: list[np.ndarray] = []
    for index, found in enumerate(loaded):
        if isinstance(found, str):
            problems[index] = found
            counts.append(0)
        else:
            counts.append(len(found))
            waiting.extend(found)
        while len(waiting) >= encoder.batch_size:
            batch, waiting = waiting[: encoder.batch_size], waiting[encoder.batch_size :]
            pooled.append(encoder.pool(modality, np.stack(batch)))
        advance(1)
    if waiting:
        pooled.append(encoder.pool(modality, np.stack(waiting)))
    return Features(np.concatenate(pooled), np.array(counts, np.int64), problems)


def _joined(parts: Sequence[Features], dim: int) -> Features:
    problems: dict[int, str] = {}
    first = 0
    for part in parts:
        problems |= {first + index: reason for index, reason in part.problems.items()}
        first += len(part.counts)
    return Features(
        np.concatenate([np.zeros((0, dim), np.float32), *(part.pooled for part in parts)]),
        np.concatenate([np.zeros(0, np.int64), *(part.counts for part in parts)]),
        problems,
    )


def _path(
    cache: pathlib.Path, kind: Sequence[object], examples: Examples, chunk: range
) -> pathlib.Path:
    content = json.dumps([kind, [examples.fingerprint(index) for index in chunk]])
    return cache / f"{hashlib.sha256(content.encode('utf-8', 'surrogatepass')).hexdigest()}.npz"


def _write(path: pathlib.Path, features: Features) -> None:
    out = io.BytesIO()
    indices = np.array(sorted(features.problems), np.int64)
    reasons = np.array([features.problems[i] for i in indices.tolist()], np.str_)
    np.savez(out, pooled=features.pooled, counts=features.counts, problems=indices, reasons=reasons)
    write_file(path, out.getvalue())


def _read(path: pathlib.Path) -> Features | None:
    """None where there is none, or it is damaged: then it is made anew."""
    try:
        with path.open("rb") as file, np.load(file) as found:
            problems = dict(zip(found["problems"].tolist(), found["reasons"].tolist(), strict=True))
            return Features(found["pooled"], found["counts"], problems)
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile):
        return None
