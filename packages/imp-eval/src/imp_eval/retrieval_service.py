"""RetrievalService: protobuf in and out over Engine and Collections."""

import asyncio
from collections.abc import Sequence

import numpy as np

from imp_eval.collection_store import Collection, CollectionConfig, Collections
from imp_eval.engine import Engine, Query
from imp_eval.index import unit
from imp_eval.messages import Context, count_or_default, embed, item_error, query_of
from imp_eval.models import current_engine
from imp_proto.v1 import embedding_pb2, retrieval_pb2, retrieval_pb2_grpc

_MAX_ID_CHARS = 512
_MAX_METADATA_BYTES = 16 << 10


class StaleCollectionError(RuntimeError):
    """A collection whose vectors another model made."""


class RetrievalServicer(retrieval_pb2_grpc.RetrievalServiceServicer):
    """See retrieval.proto. Index and disk work runs in threads."""

    def __init__(self, collections: Collections) -> None:
        self._collections = collections

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
        return _describe(await asyncio.to_thread(self._collections.create, config))

    async def ListCollections(  # noqa: N802
        self, request: retrieval_pb2.ListCollectionsRequest, context: Context
    ) -> retrieval_pb2.ListCollectionsResponse:
        return retrieval_pb2.ListCollectionsResponse(
            collections=[_describe(c) for c in self._collections.all()]
        )

    async def DropCollection(  # noqa: N802
        self, request: retrieval_pb2.DropCollectionRequest, context: Context
    ) -> retrieval_pb2.DropCollectionResponse:
        await asyncio.to_thread(self._collections.drop, request.name)
        return retrieval_pb2.DropCollectionResponse()

    async def Upsert(  # noqa: N802
        self, request: retrieval_pb2.UpsertRequest, context: Context
    ) -> retrieval_pb2.UpsertResponse:
        limits = self._engine.limits
        limits.check_count(len(request.items), "items", limits.max_items)
        collection = self._current(request.collection)
        vectors = await self._vectors(collection, request.items, context)
        stored = [
            (item, vector)
            for item, vector in zip(request.items, vectors, strict=True)
            if not isinstance(vector, ValueError)
        ]
        if stored:
            await asyncio.to_thread(
                collection.upsert,
                [item.id for item, _ in stored],
                np.stack([vector for _, vector in stored]),
                [dict(item.metadata) for item, _ in stored],
            )
        return retrieval_pb2.UpsertResponse(
            results=[
                retrieval_pb2.UpsertResult(
                    id=item.id,
                    error=item_error(vector) if isinstance(vector, ValueError) else None,
                )
                for item, vector in zip(request.items, vectors, strict=True)
            ]
        )

    async def Delete(  # noqa: N802
        self, request: retrieval_pb2.DeleteRequest, context: Context
    ) -> retrieval_pb2.DeleteResponse:
        self._engine.limits.check_count(len(request.ids), "ids", 100_000)
        collection = self._collections.get(request.collection)
        deleted = await asyncio.to_thread(collection.delete, list(request.ids))
        return retrieval_pb2.DeleteResponse(num_deleted=deleted)

    async def Search(  # noqa: N802
        self, request: retrieval_pb2.SearchRequest, context: Context
    ) -> retrieval_pb2.SearchResponse:
        k = count_or_default(request.k, 10, self._engine.limits.max_k, "k")
        collection = self._collections.get(request.collection)
        if request.WhichOneof("query") == "vector":
            vector = unit(_floats(request.vector), collection.config.dim)
        else:
            collection = self._current(request.collection)
            query = query_of(request.input, _other_side(collection, request.input))
            [result] = await embed(self._engine, [query], context)
            if isinstance(result, ValueError):
                raise result
            vector = result
        hits = await asyncio.to_thread(collection.search, vector, k)
        return retrieval_pb2.SearchResponse(
            hits=[
                retrieval_pb2.Hit(id=hit.id, score=hit.score, metadata=hit.metadata) for hit in hits
            ]
        )

    def _current(self, name: str) -> Collection:
        """The collection, if what this server embeds can be compared with it."""
        collection = self._collections.get(name)
        if collection.config.model_digest != self._engine.encoder.digest:
            raise StaleCollectionError(
                f"collection {name!r} was made with model {collection.config.model_digest[:12]}, "
                f"and {self._engine.encoder.digest[:12]} serves now; drop it and index again"
            )
        return collection

    async def _vectors(
        self,
        collection: Collection,
        items: Sequence[retrieval_pb2.UpsertItem],
        context: Context,
    ) -> list[np.ndarray | ValueError]:
        config = collection.config
        vectors: list[np.ndarray | ValueError | Query] = []
        for item in items:
            try:
                _check_item(item)
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
        return [next(embedded) if isinstance(value, Query) else value for value in vectors]


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


def _check_item(item: retrieval_pb2.UpsertItem) -> None:
    if not 1 <= len(item.id) <= _MAX_ID_CHARS:
        raise ValueError(f"an id has 1 to {_MAX_ID_CHARS} characters; this one {len(item.id)}")
    size = sum(len(k.encode()) + len(v.encode()) for k, v in item.metadata.items())
    if size > _MAX_METADATA_BYTES:
        raise ValueError(f"{size} bytes of metadata are over the limit of {_MAX_METADATA_BYTES}")


def _floats(vector: retrieval_pb2.Vector) -> np.ndarray:
    return np.array(vector.values, np.float32)


def _describe(collection: Collection) -> retrieval_pb2.Collection:
    config = collection.config
    return retrieval_pb2.Collection(
        name=config.name,
        modality=config.modality,
        query_modality=config.query_modality,
        dim=config.dim,
        num_items=len(collection),
        model_digest=config.model_digest,
    )
