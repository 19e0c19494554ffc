"""Search in a large collection beside faiss: recall at 10, queries a second, memory.

The vectors are a mixture: 4,000 clusters of very different sizes about 64 themes, each cluster wide
in 48 directions of its theme and a little in all. Queries are further draws, not vectors of the
collection. Each arm is a process of its own; they answer the queries in turns.
"""

import dataclasses
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

DIM, K = 512, 10
_CLUSTERS, _THEMES, _WIDE = 4_000, 64, 48
_CHUNK = 20_000
ARMS = ("lancedb", "faiss IVF Flat", "faiss IVF SQ8")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Index:
    """Compares our collections with faiss's indexes of as many partitions; prints a table.

    faiss is no dependency of ours: `./imp python -m ensurepip; ./imp python -m pip install
    faiss-cpu`, or choose the arms.
    """

    vectors: int = 100_000
    queries: int = 300
    rounds: int = 3
    arms: tuple[str, ...] = ARMS

    def run(self) -> None:
        with tempfile.TemporaryDirectory(prefix="imp-index-") as name:
            folder = Path(name)
            best = _prepare(folder, self.vectors, self.queries)
            running = {arm: Arm(arm, folder) for arm in self.arms}
            try:
                self._compare(running, folder, best)
            finally:
                for arm in running.values():
                    arm.end()

    def _compare(self, running: dict[str, "Arm"], folder: Path, best: np.ndarray) -> None:
        # Built one after the other, and only then searched.
        built = {}
        for name in running:
            built[name] = running[name].ask("build")
            if name == "lancedb":  # what filling it took of memory is gone with a restart
                running[name].end()
                running[name] = Arm(name, folder)
        answers: dict[str, list[dict[str, Any]]] = {name: [] for name in running}
        for number in tqdm(range(self.rounds), unit="round", disable=None):
            for name in list(running)[:: -1 if number % 2 else 1]:
                answers[name].append(running[name].ask("search"))
        print(f"{self.vectors} vectors of {DIM}, {self.queries} queries, one after the other")
        print("| | build s | its CPU s | recall@10 | queries/s | CPU ms a query | memory MiB |")
        print("|---|---|---|---|---|---|---|")
        for name, rounds in answers.items():
            recall = _recall(rounds[-1]["found"], best)
            wall = statistics.median(answer["wall"] for answer in rounds)
            cpu = statistics.median(answer["cpu"] for answer in rounds)
            print(
                f"| {name}{built[name]['note']} | {built[name]['wall']:.0f} "
                f"| {built[name]['cpu']:.0f} | {recall:.3f} | {self.queries / wall:.0f} "
                f"| {1000 * cpu / self.queries:.1f} | {rounds[-1]['memory']:.0f} |"
            )
        if "lancedb" in running:
            for kind in ("exact", "filtered"):
                answer = running["lancedb"].ask(kind)
                print(
                    f"lancedb, {kind}: {1000 * answer['wall'] / answer['queries']:.0f} ms a query"
                )


class Arm:
    """A process of `benchmarks.index_arms`."""

    def __init__(self, name: str, folder: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "benchmarks.index_arms", name, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, what: str) -> dict[str, Any]:
        """Raises ValueError where the process has ended."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(what + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise ValueError(f"an arm ended with status {self._process.wait()}; see above")
        return json.loads(line)

    def end(self) -> None:
        self._process.kill()
        self._process.communicate()


def _prepare(folder: Path, num_vectors: int, num_queries: int) -> np.ndarray:
    """Writes vectors.npy and queries.npy; the ten best of each query, int64 [n, 10]."""
    queries = next(draws(num_queries, num_queries, seed=2))
    np.save(folder / "queries.npy", queries)
    vectors = np.lib.format.open_memmap(
        folder / "vectors.npy", "w+", np.float32, (num_vectors, DIM)
    )
    ids = np.empty((num_queries, 0), np.int64)
    scores = np.empty((num_queries, 0), np.float32)
    start = 0
    for rows in tqdm(draws(num_vectors, _CHUNK, seed=1), unit="chunk", disable=None):
        vectors[start : start + len(rows)] = rows
        scores = np.concatenate([scores, queries @ rows.T], axis=1)
        new = np.broadcast_to(np.arange(start, start + len(rows)), (num_queries, len(rows)))
        ids = np.concatenate([ids, new], axis=1)
        kept = np.argpartition(-scores, K - 1, axis=1)[:, :K]
        scores = np.take_along_axis(scores, kept, 1)
        ids = np.take_along_axis(ids, kept, 1)
        start += len(rows)
    vectors.flush()
    return ids


def draws(count: int, chunk: int, *, seed: int) -> Iterator[np.ndarray]:
    """Chunks of `count` draws from the one mixture, float32 [n, DIM], of length 1."""
    shape = np.random.default_rng(0)
    themes = shape.normal(size=(_THEMES, DIM))
    own = np.arange(_CLUSTERS) % _THEMES
    centres = (themes[own] + 0.8 * shape.normal(size=(_CLUSTERS, DIM))).astype(np.float32)
    wide = (shape.normal(size=(_THEMES, _WIDE, DIM)) / _WIDE**0.5).astype(np.float32)
    share = np.arange(1, _CLUSTERS + 1) ** -0.7
    share /= share.sum()
    rng = np.random.default_rng(seed)
    for start in range(0, count, chunk):
        size = min(chunk, count - start)
        cluster = rng.choice(_CLUSTERS, size, p=share)
        rows = centres[cluster] + 0.15 * rng.standard_normal((size, DIM), np.float32)
        along = 0.7 * rng.standard_normal((size, _WIDE), np.float32)
        for theme in range(_THEMES):
            chosen = np.flatnonzero(own[cluster] == theme)
            rows[chosen] += along[chosen] @ wide[theme]
        yield rows / np.linalg.norm(rows, axis=1, keepdims=True)


def _recall(found: Sequence[Sequence[int]], best: np.ndarray) -> float:
    return float(np.mean([len(set(a) & set(b)) / K for a, b in zip(found, best.tolist())]))
