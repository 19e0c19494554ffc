"""Collections as LanceDB tables: in memory, in a folder, or in an object store that servers share.

A change is one commit of LanceDB's, a new version of the table that is there whole or not at all;
an id occurs once, whoever writes at the same time. A table is opened anew for each call, which
costs less than a millisecond, so that no server goes by what another has changed since.
"""

import contextlib
import datetime
import json
import logging
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import lancedb
import numpy as np

from imp_eval import lance_rows, lance_upkeep, vector_store
from imp_eval.disk_sync import DiskSync
from imp_eval.filters import Filter
from imp_eval.lance_upkeep import Measured, Table, Upkeep, UpkeepConfig
from imp_eval.vector_store import (
    AlreadyExistsError,
    ApproximateIndex,
    CollectionConfig,
    Hit,
    Item,
    NotFoundError,
    Page,
)

logger = logging.getLogger(__name__)

_CONFIG_KEY = b"imp.collection"
_DROPPED_KEY = b"imp.dropped"


class LanceCollection:
    """See vector_store.Collection."""

    def __init__(
        self,
        config: CollectionConfig,
        table: Table,
        measured: Measured | None,
        upkeep: Upkeep,
        disk: DiskSync | None,
    ) -> None:
        self.config = config
        self.table = table
        self._measured = measured
        self._upkeep = upkeep
        self._disk = disk

    async def count(self) -> int:
        with self.errors():
            return await self.table.count_rows()

    async def index(self) -> ApproximateIndex | None:
        with self.errors():
            return await lance_upkeep.describe(self.table)

    async def upsert(self, items: Sequence[Item]) -> None:
        rows = lance_rows.rows_of(items, self.config.dim)
        merge = self.table.merge_insert("id")
        merge = merge.when_matched_update_all().when_not_matched_insert_all()
        with self.errors():
            await self._upkeep.in_turn(self.config.name, merge.execute(rows))
        await self._changed(len(items))

    async def delete(self, ids: Sequence[str]) -> int:
        return await self._delete(lance_rows.ids_condition(ids))

    async def delete_where(self, where: Filter) -> int:
        return await self._delete(lance_rows.condition(where))

    async def search(
        self, vector: np.ndarray, k: int, where: Filter | None = None, *, exact: bool = False
    ) -> list[Hit]:
        query = self.table.query().nearest_to(vector).distance_type("dot").limit(k)
        query = query.select(["id", "metadata", "_distance"])
        if exact or self._measured is None:
            query = query.bypass_vector_index()
        else:
            query = lance_upkeep.through_index(query, self._measured)
        if where is not None:
            query = query.where(lance_rows.condition(where))
        with self.errors():
            rows = await query.to_arrow()
        columns = (rows["id"].to_pylist(), rows["_distance"].to_pylist())
        return [
            # LanceDB's distance is 1 - the dot product.
            Hit(id=key, score=1 - distance, metadata=metadata)
            for key, distance, metadata in zip(*columns, lance_rows.metadata_of(rows))
        ]

    async def scan(self, start: str, limit: int, where: Filter | None = None) -> Page:
        conditions = [lance_rows.after_condition(start)] if start else []
        if where is not None:
            conditions.append(lance_rows.condition(where))
        query = self.table.query().select(["id", "metadata"]).limit(limit + 1)
        query = query.order_by([lancedb.query.ColumnOrdering(column_name="id")])
        if conditions:
            query = query.where(" AND ".join(conditions))
        with self.errors():
            rows = await query.to_arrow()
        found = list(zip(rows["id"].to_pylist(), lance_rows.metadata_of(rows)))
        items = found[:limit]
        return Page(items=items, next=items[-1][0] if len(found) > limit else "")

    async def _delete(self, condition: str) -> int:
        with self.errors():
            result = await self._upkeep.in_turn(self.config.name, self.table.delete(condition))
        await self._changed(result.num_deleted_rows)
        return result.num_deleted_rows

    async def _changed(self, num_rows: int) -> None:
        if self._disk is not None:
            await self._disk.sync(_folder(self.config.name))
        self._upkeep.changed(self.config.name, self.table, num_rows)

    def errors(self) -> contextlib.AbstractContextManager[None]:
        return _errors(self.config.name)


class LanceStore:
    """See vector_store.VectorStore."""

    def __init__(self, connection: Any, upkeep: Upkeep, disk: DiskSync | None) -> None:
        self.upkeep = upkeep
        self._connection = connection
        self._disk = disk

    async def create(self, config: CollectionConfig) -> LanceCollection:
        encoded = {_CONFIG_KEY.decode(): json.dumps(vector_store.config_to_json(config))}
        schema = lance_rows.schema_of(config.dim, encoded)
        with contextlib.suppress(NotFoundError):
            await self.open(config.name)
            raise AlreadyExistsError(config.name)
        try:
            await self._connection.create_table(config.name, schema=schema)
        except ValueError as error:
            if "already exists" in str(error):
                raise AlreadyExistsError(config.name) from error
            raise
        if self._disk is not None:
            await self._disk.sync(_folder(config.name))
        return await self.open(config.name)

    async def open(self, name: str) -> LanceCollection:
        if not vector_store.is_name(name):
            raise NotFoundError(name)
        with _errors(name):
            try:
                table = await self._connection.open_table(name)
            except ValueError as error:
                if "was not found" in str(error):
                    raise NotFoundError(name) from error
                raise
            schema = await table.schema()
        if "id" not in schema.names:
            raise ValueError(f"{name!r} is no collection of ours")
        if _DROPPED_KEY in (schema.field("id").metadata or {}):
            await self._remove(name, table)  # a drop was cut off
            raise NotFoundError(name)
        kept = (schema.metadata or {}).get(_CONFIG_KEY, b"{}")
        config = vector_store.config_from_json(name, json.loads(kept))
        measured = lance_upkeep.measured_of(schema)
        return LanceCollection(config, table, measured, self.upkeep, self._disk)

    async def names(self) -> list[str]:
        found: list[str] = []
        token: str | None = None
        while True:
            response = await self._connection.list_tables(page_token=token, limit=1000)
            found += response.tables
            token = response.page_token
            if not token:
                return sorted(found)

    async def drop(self, name: str) -> None:
        collection = await self.open(name)
        await self.upkeep.stop(name)
        mark = {"path": "id", "metadata": {_DROPPED_KEY.decode(): "1"}}
        with collection.errors():
            change = collection.table.update_field_metadata(mark)
            await self.upkeep.in_turn(name, change)
        # From here on it is dropped, whatever becomes of its files.
        await self._remove(name, collection.table)

    async def _remove(self, name: str, table: Table) -> None:
        """The files of a dropped table. They go one by one, in any order: first all versions that
        lack the mark, then the rest, so that what a kill leaves is no table, or a marked one."""
        try:
            # A kill may have left an index whose files are gone, which no upkeep gets past.
            for index in await table.list_indices():
                await table.drop_index(index.name)
            await table.optimize(cleanup_older_than=datetime.timedelta(milliseconds=1))
            await self._connection.drop_table(name, ignore_missing=True)
        except RuntimeError as error:
            # Another server was changing or removing it; it goes when it is next opened.
            logger.warning("removing collection %s put off: %s", name, error)

    async def close(self) -> None:
        await self.upkeep.close()
        self._connection.close()


async def connect(uri: str | None, upkeep: UpkeepConfig) -> LanceStore:
    """`uri` is a folder, or what LanceDB takes, such as s3://…; None keeps collections in memory.

    Raises OSError or RuntimeError for one that can't be used.
    """
    folder = pathlib.Path(uri) if uri is not None and "://" not in uri else None
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    connection = await lancedb.connect_async(
        uri or "memory://", read_consistency_interval=datetime.timedelta(0)
    )
    store = LanceStore(connection, Upkeep(upkeep), None if folder is None else DiskSync(folder))
    await store.names()
    return store


@contextlib.contextmanager
def _errors(name: str) -> Iterator[None]:
    """NotFoundError for a table that has been dropped meanwhile, else OSError."""
    try:
        yield
    except RuntimeError as error:
        if "Not found: " in str(error):
            raise NotFoundError(name) from error
        raise OSError(" ".join(str(error).split())[:300]) from error


def _folder(name: str) -> str:
    return f"{name}.lance"
