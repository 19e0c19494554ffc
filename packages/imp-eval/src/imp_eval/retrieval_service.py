"""RetrievalService: protobuf in and out over Engine and a VectorStore."""

import asyncio
import logging
from collections.abc import Mapping, Sequence

import numpy as np

from imp_eval import filters, pages
from imp_eval.engine import Engine, Query
from imp_eval.filters import Value
from imp_eval.messages import Context, count_or_default, embed, item_error, query_of
from imp_eval.models import current_engine
from imp_eval.pages import Pager
from imp_eval.vector_store import (
    Collection,
    CollectionConfig,
    Item,
    NotFoundError,
    VectorStore,
    unit,
)
from imp_proto.v1 import embedding_pb2, retrieval_pb2, retrieval_pb2_grpc

_MAX_ID_CHARS = 512
_MAX_METADATA_BYTES = 16 << 10
_MAX_IDS = 10_000
_MAX_PAGE = 1_000


logger = logging.getLogger(__name__)


class StaleCollectionError(RuntimeError):
    """A collection whose vectors another model made."""


class RetrievalServicer(retrieval_pb2_grpc.RetrievalServiceServicer):
    """See retrieval.proto."""

    def __init__(self, store: VectorStore) -> None:
        self._store = store

    @property
    def _engine(self) -> Engine:
        return current_engine()

    async def CreateCollection(  # noqa: N802
        self, request: retrieval_pb2.CreateCollectionRequest, context: Context
    ) -> retrieval_pb2.Collection:
        encoder = self._engine.encoder
        pair = self._engine.pair(request.modality, request.query_modality)
        config = CollectionConfig(
            name=request.name,
            modality=pair[0],
            query_modality=pair[1],
            dim=encoder.dim,
            model_digest=encoder.digest,
        )
        return await _describe(await self._store.create(config))

    async def ListCollections(  # noqa: N802
        self, request: retrieval_pb2.ListCollectionsRequest, context: Context
    ) -> retrieval_pb2.ListCollectionsResponse:
        size = count_or_default(request.page_size, 100, _MAX_PAGE, "page_size")
        pager = Pager.of("collections")
        after = pager.position(request.page_token, (str,)) or [""]
        names = [name for name in await self._store.names() if name > str(after[0])]
        found = await asyncio.gather(*(self._described(name) for name in names[:size]))
        return retrieval_pb2.ListCollectionsResponse(
            collections=[collection for collection in found if collection is not None],
            next_page_token=pager.token([names[size - 1]]) if len(names) > size else "",
        )

    async def DropCollection(  # noqa: N802
        self, request: retrieval_pb2.DropCollectionRequest, context: Context
    ) -> retrieval_pb2.DropCollectionResponse:
        await self._store.drop(request.name)
        return retrieval_pb2.DropCollectionResponse()

    async def Upsert(  # noqa: N802
        self, request: retrieval_pb2.UpsertRequest, context: Context
    ) -> retrieval_pb2.UpsertResponse:
        limits = self._engine.limits
        limits.check_count(len(request.items), "items", limits.max_items)
        collection = await self._current(request.collection)
        results = await self._items(collection, request.items, context)
        # Of an id given twice the later one stays.
        items = {item.id: item for item in results if isinstance(item, Item)}
        if items:
            await collection.upsert(list(items.values()))
        return retrieval_pb2.UpsertResponse(
            results=[
                retrieval_pb2.UpsertResult(
                    id=given.id,
                    error=item_error(result) if isinstance(result, ValueError) else None,
                )
                for given, result in zip(request.items, results, strict=True)
            ]
        )

    async def Delete(  # noqa: N802
        self, request: retrieval_pb2.DeleteRequest, context: Context
    ) -> retrieval_pb2.DeleteResponse:
        where = filters.of(request.filter) if request.HasField("filter") else None
        if where is not None and request.ids:
            raise ValueError("the request holds both ids and a filter; give one of them")
        if where is None:
            self._engine.limits.check_count(len(request.ids), "ids", _MAX_IDS)
        collection = await self._store.open(request.collection)
        deleted = await (
            collection.delete(list(request.ids))
            if where is None
            else collection.delete_where(where)
        )
        return retrieval_pb2.DeleteResponse(num_deleted=deleted)

    async def Search(  # noqa: N802
        self, request: retrieval_pb2.SearchRequest, context: Context
    ) -> retrieval_pb2.SearchResponse:
        k = count_or_default(request.k, 10, self._engine.limits.max_k, "k")
        where = filters.of(request.filter) if request.HasField("filter") else None
        collection = await self._store.open(request.collection)
        vector = await self._query_vector(collection, request, context)
        first = retrieval_pb2.SearchRequest()
        first.CopyFrom(request)
        for field in ("k", "page_token"):
            first.ClearField(field)
        hits, token = await pages.search_page(
            collection,
            vector,
            k,
            where=where,
            exact=request.exact,
            pager=Pager.of("search", first.SerializeToString(deterministic=True)),
            token=request.page_token,
        )
        return retrieval_pb2.SearchResponse(
            hits=[
                retrieval_pb2.Hit(id=hit.id, score=hit.score, metadata=_fields(hit.metadata))
                for hit in hits
            ],
            next_page_token=token,
        )

    async def ListItems(  # noqa: N802
        self, request: retrieval_pb2.ListItemsRequest, context: Context
    ) -> retrieval_pb2.ListItemsResponse:
        size = count_or_default(request.page_size, 100, _MAX_PAGE, "page_size")
        where = filters.of(request.filter) if request.HasField("filter") else None
        filter_bytes = request.filter.SerializeToString(deterministic=True)
        pager = Pager.of("items", request.collection, filter_bytes)
        start = pager.position(request.page_token, (str,)) or [""]
        collection = await self._store.open(request.collection)
        page = await collection.scan(str(start[0]), size, where)
        return retrieval_pb2.ListItemsResponse(
            items=[
                retrieval_pb2.ListedItem(id=key, metadata=_fields(metadata))
                for key, metadata in page.items
            ],
            next_page_token=pager.token([page.next]) if page.next else "",
        )

    async def describe(self, name: str) -> retrieval_pb2.Collection:
        """Raises NotFoundError."""
        return await _describe(await self._store.open(name))

    async def _current(self, name: str) -> Collection:
        """The collection, if what this server embeds can be compared with it."""
        return self._check_model(await self._store.open(name))

    def _check_model(self, collection: Collection) -> Collection:
        theirs, ours = collection.config.model_digest, self._engine.encoder.digest
        if theirs != ours:
            raise StaleCollectionError(
                f"collection {collection.config.name!r} was made with model {theirs[:12]}, "
                f"and {ours[:12]} serves now; drop it and index again"
            )
        return collection

    async def _described(self, name: str) -> retrieval_pb2.Collection | None:
        """None for one that has been dropped since it was listed, or that is none of ours."""
        try:
            return await self.describe(name)
        except NotFoundError:
            return None
        except ValueError as error:
            # A newer server's, say: no reason to hide the others.
            logger.warning("not listed: %s", error)
            return None

    async def _query_vector(
        self, collection: Collection, request: retrieval_pb2.SearchRequest, context: Context
    ) -> np.ndarray:
        if request.WhichOneof("query") == "vector":
            return unit(_floats(request.vector), collection.config.dim)
        self._check_model(collection)
        query = query_of(request.input, _other_side(collection, request.input))
        [result] = await embed(self._engine, [query], context)
        if isinstance(result, ValueError):
            raise result
        return result

    async def _items(
        self,
        collection: Collection,
        items: Sequence[retrieval_pb2.UpsertItem],
        context: Context,
    ) -> list[Item | ValueError]:
        config = collection.config
        vectors: list[np.ndarray | ValueError | Query] = []
        metadata: list[dict[str, Value]] = []
        for item in items:
            try:
                metadata.append({})
                metadata[-1] = _check_item(item)
                if item.WhichOneof("content") == "vector":
                    vectors.append(unit(_floats(item.vector), config.dim))
                    continue
                kind = item.input.WhichOneof("content")
                if kind is not None and kind != config.modality:
                    raise ValueError(
                        f"collection {config.name!r} holds {config.modality}, not {kind}"
                    )
                vectors.append(query_of(item.input, config.query_modality))
            except ValueError as error:
                vectors.append(error)
        queries = [value for value in vectors if isinstance(value, Query)]
        embedded = iter(await embed(self._engine, queries, context))
        results = [next(embedded) if isinstance(value, Query) else value for value in vectors]
        return [
            result
            if isinstance(result, ValueError)
            else Item(id=item.id, vector=result, metadata=fields)
            for item, result, fields in zip(items, results, metadata, strict=True)
        ]


def _other_side(collection: Collection, value: embedding_pb2.Input) -> str:
    """The target with which a query of this kind lands in the collection's space."""
    config, kind = collection.config, value.WhichOneof("content")
    if kind == config.modality:
        return config.query_modality
    if kind in (config.query_modality, None):
        return config.modality
    raise ValueError(
        f"collection {config.name!r} is searched by {config.query_modality} or {config.modality}, "
        f"not by {kind}"
    )


def _check_item(item: retrieval_pb2.UpsertItem) -> dict[str, Value]:
    """Its metadata."""
    if not 1 <= len(item.id) <= _MAX_ID_CHARS:
        raise ValueError(f"an id has 1 to {_MAX_ID_CHARS} characters; this one {len(item.id)}")
    size = sum(len(key.encode()) + value.ByteSize() for key, value in item.metadata.items())
    if size > _MAX_METADATA_BYTES:
        raise ValueError(f"{size} bytes of metadata are over the limit of {_MAX_METADATA_BYTES}")
    return {
        filters.check_field(key): filters.value_of(value, f"metadata {key!r}")
        for key, value in item.metadata.items()
    }


def _floats(vector: retrieval_pb2.Vector) -> np.ndarray:
    return np.array(vector.values, np.float32)


def _fields(metadata: Mapping[str, Value]) -> dict[str, retrieval_pb2.Value]:
    return {key: filters.to_value(value) for key, value in metadata.items()}


async def _describe(collection: Collection) -> retrieval_pb2.Collection:
    config = collection.config
    message = retrieval_pb2.Collection(
        name=config.name,
        modality=config.modality,
        query_modality=config.query_modality,
        dim=config.dim,
        num_items=await collection.count(),
        model_digest=config.model_digest,
    )
    if (index := await collection.index()) is not None:
        message.index.kind = index.kind
        message.index.num_items = index.num_items
        message.index.recall_at_10 = index.recall
    return message
