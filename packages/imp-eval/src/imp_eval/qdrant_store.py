"""Collections in a Qdrant server or cluster, behind the same interface as LanceDB's.

Qdrant names points by UUIDs: an item's is made of its id, which stands in the payload. A field's
payload key is its kind and its name in hexadecimal, for Qdrant takes dots and brackets in keys for
paths. Texts have no order there, so a range of texts is refused.
"""

import contextlib
import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from qdrant_client import AsyncQdrantClient, models
from qdrant_client.http.exceptions import ApiException, UnexpectedResponse

from imp_eval import vector_store
from imp_eval.filters import AllOf, AnyOf, Filter, Not, OneOf, Range, Value, kind_of
from imp_eval.vector_store import (
    AlreadyExistsError,
    ApproximateIndex,
    CollectionConfig,
    Hit,
    Item,
    NotFoundError,
    Page,
)

_PREFIX = "imp."  # others' collections may lie in the same cluster
_ID = "id"
_NAMESPACE = uuid.UUID("8c1c0f51-6a4e-4d0e-9a47-3f3c5f6b1f70")


class QdrantCollection:
    """See vector_store.Collection."""

    def __init__(self, config: CollectionConfig, client: AsyncQdrantClient) -> None:
        self.config = config
        self._client = client
        self._name = _PREFIX + config.name

    async def count(self) -> int:
        with _errors(self.config.name):
            return (await self._client.count(self._name)).count

    async def index(self) -> ApproximateIndex | None:
        """None: when and how it indexes is Qdrant's own affair."""
        return None

    async def upsert(self, items: Sequence[Item]) -> None:
        points = [
            models.PointStruct(
                id=_point(item.id), vector=item.vector.tolist(), payload=_payload(item)
            )
            for item in items
        ]
        with _errors(self.config.name):
            await self._client.upsert(self._name, points)

    async def delete(self, ids: Sequence[str]) -> int:
        chosen = models.HasIdCondition(has_id=[_point(key) for key in ids])
        return await self._delete(models.Filter(must=[chosen]))

    async def delete_where(self, where: Filter) -> int:
        return await self._delete(_filter(where))

    async def search(
        self, vector: np.ndarray, k: int, where: Filter | None = None, *, exact: bool = False
    ) -> list[Hit]:
        with _errors(self.config.name):
            response = await self._client.query_points(
                self._name,
                query=vector.tolist(),
                query_filter=None if where is None else _filter(where),
                limit=k,
                search_params=models.SearchParams(exact=True) if exact else None,
            )
        return [
            Hit(id=_id(point.payload), score=point.score, metadata=_metadata(point.payload))
            for point in response.points
        ]

    async def scan(self, start: str, limit: int, where: Filter | None = None) -> Page:
        with _errors(self.config.name):
            points, following = await self._client.scroll(
                self._name,
                scroll_filter=None if where is None else _filter(where),
                limit=limit,
                offset=start or None,
            )
        items = [(_id(point.payload), _metadata(point.payload)) for point in points]
        return Page(items=items, next="" if following is None else str(following))

    async def _delete(self, chosen: models.Filter) -> int:
        with _errors(self.config.name):
            found = await self._client.count(self._name, count_filter=chosen)
            await self._client.delete(self._name, models.FilterSelector(filter=chosen))
        return found.count


class QdrantStore:
    """See vector_store.VectorStore."""

    def __init__(self, client: AsyncQdrantClient) -> None:
        self._client = client

    async def create(self, config: CollectionConfig) -> QdrantCollection:
        with contextlib.suppress(NotFoundError):
            await self.open(config.name)
            raise AlreadyExistsError(config.name)
        with _errors(config.name):
            await self._client.create_collection(
                _PREFIX + config.name,
                vectors_config=models.VectorParams(
                    size=config.dim, distance=models.Distance.COSINE
                ),
                metadata=vector_store.config_to_json(config),
            )
        return QdrantCollection(config, self._client)

    async def open(self, name: str) -> QdrantCollection:
        if not vector_store.is_name(name):
            raise NotFoundError(name)
        with _errors(name):
            there = await self._client.get_collection(_PREFIX + name)
        config = vector_store.config_from_json(name, there.config.metadata or {})
        return QdrantCollection(config, self._client)

    async def names(self) -> list[str]:
        with _errors("", missing=False):
            response = await self._client.get_collections()
        names = (collection.name for collection in response.collections)
        return sorted(name[len(_PREFIX) :] for name in names if name.startswith(_PREFIX))

    async def drop(self, name: str) -> None:
        await self.open(name)
        with _errors(name):
            await self._client.delete_collection(_PREFIX + name)

    async def close(self) -> None:
        await self._client.close()


async def connect(url: str) -> QdrantStore:
    """`url` http(s)://HOST:PORT; ":memory:" for the engine within this process, for tests.

    Raises OSError when nobody answers.
    """
    client = (
        AsyncQdrantClient(url)
        if url == ":memory:"
        else AsyncQdrantClient(url=url, check_compatibility=False)
    )
    store = QdrantStore(client)
    await store.names()
    return store


@contextlib.contextmanager
def _errors(name: str, *, missing: bool = True) -> Iterator[None]:
    try:
        yield
    except UnexpectedResponse as error:
        if missing and error.status_code == 404:
            raise NotFoundError(name) from error
        raise OSError(f"Qdrant: {error.status_code} {error.reason_phrase}") from error
    except ApiException as error:
        raise OSError(f"Qdrant does not answer: {error}") from error
    except ValueError as error:
        # The engine within this process.
        if missing and str(error).endswith("not found"):
            raise NotFoundError(name) from error
        raise


def _filter(where: Filter) -> models.Filter:
    match where:
        case AllOf(parts=parts):
            return models.Filter(must=[_filter(part) for part in parts])
        case AnyOf(parts=parts):
            return models.Filter(should=[_filter(part) for part in parts])
        case Not(part=part):
            return models.Filter(must_not=[_filter(part)])
        case OneOf(field=field, values=values):
            return models.Filter(should=[_equals(field, value) for value in values])
    return models.Filter(must=[_within(where)])


def _within(where: Range) -> models.FieldCondition:
    signs = {">=": "gte", ">": "gt", "<=": "lte", "<": "lt"}
    limits: dict[str, float] = {}
    for sign, bound in where.bounds.items():
        if isinstance(bound, str):
            raise ValueError(
                f"the filter on {where.field!r} orders texts, which Qdrant can't; give numbers"
            )
        limits[signs[sign]] = bound
    return models.FieldCondition(key=_key(where.field, "number"), range=models.Range(**limits))


def _equals(field: str, value: Value) -> models.FieldCondition:
    key = _key(field, kind_of(value))
    if isinstance(value, bool | str):
        return models.FieldCondition(key=key, match=models.MatchValue(value=value))
    # Qdrant's matches take whole numbers alone.
    return models.FieldCondition(key=key, range=models.Range(gte=value, lte=value))


def _point(key: str) -> str:
    return str(uuid.uuid5(_NAMESPACE, key))


def _key(field: str, kind: str) -> str:
    return f"{kind[0]}_{field.encode().hex()}"


def _payload(item: Item) -> dict[str, Value]:
    fields = {_key(name, kind_of(value)): value for name, value in item.metadata.items()}
    return {_ID: item.id, **fields}


def _id(payload: Mapping[str, Any] | None) -> str:
    assert payload is not None
    return payload[_ID]


def _metadata(payload: Mapping[str, Any] | None) -> dict[str, Value]:
    assert payload is not None
    return {
        bytes.fromhex(key[2:]).decode(): float(value) if key[0] == "n" else value
        for key, value in payload.items()
        if key != _ID
    }
