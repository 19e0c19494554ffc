"""The arms of `benchmarks.index`: processes that build an index and answer queries when told."""

import asyncio
import functools
import importlib
import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.index import DIM, K
from imp_eval.filters import OneOf
from imp_eval.lance_store import LanceStore
from imp_eval.open_store import open_store
from imp_eval.vector_store import CollectionConfig, Item

_CHUNK = 20_000


class Lance:
    """A collection in a folder, filled and looked after as the service does."""

    note = ""

    def __init__(self, folder: Path) -> None:
        self._runner = asyncio.Runner()
        store = self._runner.run(open_store(folder / "collections"))
        assert isinstance(store, LanceStore)
        self._store = store

    def build(self, vectors: np.ndarray) -> None:
        self._runner.run(self._build(vectors))

    async def _build(self, vectors: np.ndarray) -> None:
        config = CollectionConfig(
            name="all", modality="image", query_modality="text", dim=DIM, model_digest="d"
        )
        collection = await self._store.create(config)
        for start in range(0, len(vectors), _CHUNK):
            await collection.upsert(
                [
                    Item(id=str(i), vector=np.array(vectors[i]), metadata={"tenth": i % 10})
                    for i in range(start, min(start + _CHUNK, len(vectors)))
                ]
            )
        await self._store.upkeep.idle()
        index = await (await self._store.open("all")).index()
        if index is not None:
            self.note = f", {index.kind}; its own measure {index.recall:.3f}"

    def search(self, query: np.ndarray, **how: Any) -> list[int]:

        # Opened anew, as for every request.
        async def ask() -> list[int]:
            collection = await self._store.open("all")
            return [int(hit.id) for hit in await collection.search(query, K, **how)]

        return self._runner.run(ask())


class Faiss:
    def __init__(self, kind: str) -> None:
        # By name: it is no dependency of ours, and may not be there.
        self._faiss, self._kind, self.note = importlib.import_module("faiss"), kind, ""
        self._index: Any = None

    def build(self, vectors: np.ndarray) -> None:
        partitions = round(len(vectors) ** 0.5)
        self._index = self._faiss.index_factory(
            DIM, f"IVF{partitions},{self._kind}", self._faiss.METRIC_INNER_PRODUCT
        )
        # As many rounds and points as ours takes.
        self._index.cp.niter, self._index.cp.max_points_per_centroid = 10, 64
        points = np.random.default_rng(0).choice(len(vectors), min(64 * partitions, len(vectors)))
        self._index.train(vectors[np.sort(points)])
        for start in range(0, len(vectors), _CHUNK):
            self._index.add(np.ascontiguousarray(vectors[start : start + _CHUNK]))
        self._index.nprobe = max(1, partitions // 32)
        self.note = f", {self._index.nprobe} of {partitions} partitions"

    def search(self, query: np.ndarray) -> list[int]:
        return self._index.search(query[None], K)[1][0].tolist()


def main(name: str, folder: Path) -> None:
    engine: Any = Lance(folder) if name == "lancedb" else Faiss(name.rpartition(" ")[2])
    vectors = np.load(folder / "vectors.npy", mmap_mode="r")
    queries = np.load(folder / "queries.npy")
    before = _memory()
    for line in sys.stdin:
        match line.strip():
            case "build":
                answer, _ = _timed(lambda: engine.build(vectors))
                answer["note"] = engine.note
            case "search":
                answer, found = _timed(lambda: _search(engine, queries))
                answer |= {"found": found, "memory": _memory() - before}
            case kind:
                how: dict[str, Any] = {"exact": True}
                if kind == "filtered":
                    how = {"where": OneOf(field="tenth", values=(3.0,))}
                answer, _ = _timed(functools.partial(_search, engine, queries[:20], **how))
                answer["queries"] = 20
        print(json.dumps(answer), flush=True)


def _search(engine: Any, queries: np.ndarray, **how: Any) -> list[list[int]]:
    return [engine.search(query, **how) for query in queries]


def _timed(work: Callable[[], Any]) -> tuple[dict[str, Any], Any]:
    began, cpu = time.monotonic(), time.process_time()
    result = work()
    return {"wall": time.monotonic() - began, "cpu": time.process_time() - cpu}, result


def _memory() -> float:
    """MiB of this process's own, files mapped to memory aside."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
