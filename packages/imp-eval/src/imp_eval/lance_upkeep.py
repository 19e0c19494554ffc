"""What keeps a LanceDB table quick: small files put together, and beyond a size an index.

The index is IVF with RaBitQ codes: a bit a dimension in memory, the best candidates compared again
with their whole vectors. Through how many of its partitions a search looks, and how many candidates
it compares again, is chosen by recall, measured against exact search with items of the table as
queries, and kept in the table.
"""

import asyncio
import dataclasses
import datetime
import json
import logging
from collections import defaultdict
from collections.abc import Coroutine
from typing import Any, TypeAlias, TypeVar

import numpy as np
import pyarrow as pa
from lancedb.index import BTree, IvfRq

from imp_eval.vector_store import ApproximateIndex

# LanceDB's own class, of which it tells mypy nothing.
Table: TypeAlias = Any
T = TypeVar("T")
logger = logging.getLogger(__name__)

_VECTOR_INDEX, _ID_INDEX = "vector_idx", "id_idx"
_FIELD_KEY = b"imp.index"
_SAMPLE, _K, _ENOUGH = 40, 10, 0.98
_FIRST_PROBES, _FIRST_REFINE, _MAX_REFINE = 16, 10, 80
# A search that began before may still read files of the versions before.
_KEPT = datetime.timedelta(minutes=10)


@dataclasses.dataclass(frozen=True, kw_only=True)
class UpkeepConfig:
    """Collections of more than `exact_up_to` items get an index; small files are put together after
    `max_changes` changes, or when a tenth of the items, `max_rows` at least, have changed."""

    exact_up_to: int = 50_000
    max_changes: int = 512
    max_rows: int = 20_000


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measured:
    """Of an index: partitions that a search looks through, candidates it compares again for each
    item that is asked for, the recall at 10 that this gives, and items when it was made."""

    probes: int
    refine: int
    recall: float
    trained_on: int


class Upkeep:
    """Of all tables of one store, in the background; call `changed` after each change."""

    def __init__(self, config: UpkeepConfig) -> None:
        self._config = config
        self._locks: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._changes: dict[str, int] = defaultdict(int)
        self._rows: dict[str, int] = defaultdict(int)
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def in_turn(self, name: str, change: Coroutine[Any, Any, T]) -> T:
        """Changes of one process take turns; those of others LanceDB tries again by itself."""
        async with self._locks[name]:
            return await change

    def changed(self, name: str, table: Table, num_rows: int) -> None:
        self._changes[name] += 1
        self._rows[name] += num_rows
        if name not in self._tasks:
            task = asyncio.create_task(self._look_after(name, table))
            task.add_done_callback(lambda _: self._tasks.pop(name, None))
            self._tasks[name] = task

    async def stop(self, name: str) -> None:
        """Looks no longer after this table."""
        if (task := self._tasks.get(name)) is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def idle(self) -> None:
        """Waits until nothing is left to do."""
        while self._tasks:
            await asyncio.gather(*self._tasks.values())

    async def close(self) -> None:
        for name in list(self._tasks):
            await self.stop(name)

    async def _look_after(self, name: str, table: Table) -> None:
        try:
            while await self._step(name, table):
                pass
        except RuntimeError as error:
            # Another server changed or dropped the table meanwhile; the next change tries again.
            logger.warning("upkeep of collection %s put off: %s", name, _first_line(error))

    async def _step(self, name: str, table: Table) -> bool:
        """Whether there was something to do."""
        total = await table.count_rows()
        many = self._rows[name] >= max(self._config.max_rows, total // 10)
        if many or self._changes[name] >= self._config.max_changes:
            self._rows[name] = self._changes[name] = 0
            async with self._locks[name]:
                await table.optimize(cleanup_older_than=_KEPT)
            return True
        if total > self._config.exact_up_to:
            measured = measured_of(await table.schema())
            if measured is None or total > 4 * measured.trained_on:
                await self._build(name, table, total)
                return True
        return False

    async def _build(self, name: str, table: Table, total: int) -> None:
        logger.info("indexing collection %s: %d items", name, total)
        partitions = max(1, round(total**0.5))
        config = IvfRq(
            distance_type="dot", num_partitions=partitions, max_iterations=10, sample_rate=64
        )
        await table.create_index("vector", config=config, replace=True, name=_VECTOR_INDEX)
        await table.create_index("id", config=BTree(), replace=True, name=_ID_INDEX)
        measured = await _measure(table, partitions, total)
        text = json.dumps(dataclasses.asdict(measured))
        await table.update_field_metadata(
            {"path": "vector", "metadata": {_FIELD_KEY.decode(): text}}
        )
        logger.info(
            "indexed collection %s: recall@10 %.3f with %d of %d partitions",
            name,
            measured.recall,
            measured.probes,
            partitions,
        )


def measured_of(schema: pa.Schema) -> Measured | None:
    """Of a table's index, by its schema; None where it has none."""
    fields = schema.field("vector").metadata or {}
    return Measured(**json.loads(fields[_FIELD_KEY])) if _FIELD_KEY in fields else None


async def describe(table: Table) -> ApproximateIndex | None:
    measured = measured_of(await table.schema())
    if measured is None:
        return None
    stats = await table.index_stats(_VECTOR_INDEX)
    return ApproximateIndex(
        kind="IVF, RaBitQ", num_items=stats.num_indexed_rows, recall=measured.recall
    )


def through_index(query: Any, measured: Measured) -> Any:
    """The search, through more partitions where a filter leaves too few items."""
    # 0 is no maximum; it comes first, for it must never be below the minimum.
    query = query.maximum_nprobes(0).minimum_nprobes(measured.probes)
    return query.refine_factor(measured.refine)


async def _measure(table: Table, partitions: int, total: int) -> Measured:
    chosen = np.random.default_rng(0).choice(total, min(_SAMPLE, total), replace=False)
    rows = await table.take_offsets(sorted(chosen.tolist())).select(["vector"]).to_arrow()
    queries = [np.array(vector, np.float32) for vector in rows["vector"].to_pylist()]
    exact = [await _ids(_query(table, query).bypass_vector_index()) for query in queries]
    measured = Measured(
        probes=min(_FIRST_PROBES, partitions), refine=_FIRST_REFINE, recall=0.0, trained_on=total
    )
    while True:
        found = [await _ids(through_index(_query(table, query), measured)) for query in queries]
        shares = [len(a & b) / len(a) for a, b in zip(exact, found) if a]
        # None where all items have been deleted meanwhile.
        recall = float(np.mean(shares)) if shares else 1.0
        at_most = measured.probes >= partitions and measured.refine >= _MAX_REFINE
        if recall >= _ENOUGH or at_most:
            return dataclasses.replace(measured, recall=recall)
        measured = dataclasses.replace(
            measured,
            probes=min(2 * measured.probes, partitions),
            refine=min(2 * measured.refine, _MAX_REFINE),
        )


def _query(table: Table, vector: np.ndarray) -> Any:
    query = table.query().nearest_to(vector).distance_type("dot").limit(_K)
    return query.select(["id", "_distance"])


async def _ids(query: Any) -> set[str]:
    return set((await query.to_arrow())["id"].to_pylist())


def _first_line(error: RuntimeError) -> str:
    return str(error).partition("\n")[0][:300]
