"""The gRPC services: protobuf in and out over Engine and Collections.

Servicers raise our own errors; the server's interceptor turns them into gRPC statuses.
"""

import asyncio
from collections.abc import Sequence
from typing import Any, TypeAlias

import grpc
import numpy as np
from google.protobuf import json_format, struct_pb2

from imp_data.views import to_json
from imp_eval.collection_store import Collection, CollectionConfig, Collections
from imp_eval.engine import Engine, Query
from imp_eval.index import unit
from imp_eval.preprocess import SERVICE_LIMITS
from imp_proto.v1 import embedding_pb2, embedding_pb2_grpc, retrieval_pb2, retrieval_pb2_grpc

# grpc.aio.ServicerContext in spirit; what grpc passes is no instance of it.
Context: TypeAlias = Any
_INVALID_ARGUMENT = grpc.StatusCode.INVALID_ARGUMENT.value[0]
_MAX_ID_CHARS = 512
_MAX_METADATA_BYTES = 16 << 10


class StaleCollectionError(RuntimeError):
    """A collection whose vectors another model made."""


class EmbeddingServicer(embedding_pb2_grpc.EmbeddingServiceServicer):
    """See embedding.proto."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def Embed(  # noqa: N802
        self, request: embedding_pb2.EmbedRequest, context: Context
    ) -> embedding_pb2.EmbedResponse:
        limits = self._engine.limits
        limits.check_count(len(request.items), "items", limits.max_items)
        queries = [_query(item.input, item.target) for item in request.items]
        results = await _embed(self._engine, queries, context)
        response = embedding_pb2.EmbedResponse()
        for query, result in zip(queries, results, strict=True):
            if isinstance(result, ValueError):
                response.results.add(error=_item_error(result))
                continue
            assert isinstance(query, Query)
            source, target = self._engine.pair(query.modality, query.target)
            response.results.add(
                embedding=embedding_pb2.Embedding(
                    values=result.tolist(), source=source, target=target
                )
            )
        return response

    async def GetModel(  # noqa: N802
        self, request: embedding_pb2.GetModelRequest, context: Context
    ) -> embedding_pb2.GetModelResponse:
        encoder, limits = self._engine.encoder, self._engine.limits
        return embedding_pb2.GetModelResponse(
            digest=encoder.digest,
            modalities=[
                embedding_pb2.ModalityInfo(
                    modality=modality, view=view.key, view_fields=_struct(to_json(view))
                )
                for modality, view in sorted(encoder.views.items())
            ],
            pairs=[
                embedding_pb2.PairInfo(
                    source=a, target=b, dim=encoder.dim, batch_size=encoder.batch_size
                )
                for a, b in encoder.pairs
            ],
            limits=embedding_pb2.Limits(
                max_items=limits.max_items,
                max_message_bytes=limits.max_message_bytes,
                max_text_bytes=SERVICE_LIMITS.max_text_bytes,
                max_classes=limits.max_classes,
                max_prompts=limits.max_prompts,
                max_k=limits.max_k,
            ),
            metadata=_struct(encoder.metadata),
        )


class ClassificationServicer(embedding_pb2_grpc.ClassificationServiceServicer):
    """See embedding.proto."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def Classify(  # noqa: N802
        self, request: embedding_pb2.ClassifyRequest, context: Context
    ) -> embedding_pb2.ClassifyResponse:
        limits = self._engine.limits
        limits.check_count(len(request.inputs), "inputs", limits.max_items)
        limits.check_count(len(request.class_names), "class names", limits.max_classes)
        k = min(_k(request.top_k, 5, limits.max_k, "top_k"), len(request.class_names))
        queries = [_query(value, "text") for value in request.inputs]
        good = [query for query in queries if isinstance(query, Query)]
        classified = iter(
            await self._engine.classify(
                good, request.class_names, request.templates, deadline=_deadline(context)
            )
        )
        response = embedding_pb2.ClassifyResponse()
        for query in queries:
            result = next(classified) if isinstance(query, Query) else query
            if isinstance(result, ValueError):
                response.results.add(error=_item_error(result))
                continue
            best = np.argsort(-result, kind="stable")[:k]
            response.results.add(
                classes=embedding_pb2.Classes(
                    classes=[
                        embedding_pb2.ClassProbability(
                            class_name=request.class_names[i],
                            index=int(i),
                            probability=float(result[i]),
                        )
                        for i in best
                    ]
                )
            )
        return response


class RetrievalServicer(retrieval_pb2_grpc.RetrievalServiceServicer):
    """See retrieval.proto. Index and disk work runs in threads."""

    def __init__(self, engine: Engine, collections: Collections) -> None:
        self._engine = engine
        self._collections = collections

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
                    error=_item_error(vector) if isinstance(vector, ValueError) else None,
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
        k = _k(request.k, 10, self._engine.limits.max_k, "k")
        collection = self._collections.get(request.collection)
        if request.WhichOneof("query") == "vector":
            vector = unit(_floats(request.vector), collection.config.dim)
        else:
            collection = self._current(request.collection)
            query = _query(request.input, _other_side(collection, request.input))
            [result] = await _embed(self._engine, [query], context)
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
                vectors.append(_query(item.input, config.query_modality))
            except ValueError as error:
                vectors.append(error)
        queries = [value for value in vectors if isinstance(value, Query)]
        embedded = iter(await _embed(self._engine, queries, context))
        return [next(embedded) if isinstance(value, Query) else value for value in vectors]


async def _embed(
    engine: Engine, queries: Sequence[Query | ValueError], context: Context
) -> list[np.ndarray | ValueError]:
    good = [query for query in queries if isinstance(query, Query)]
    results = iter(await engine.embed(good, deadline=_deadline(context)) if good else ())
    return [next(results) if isinstance(query, Query) else query for query in queries]


def _deadline(context: Context) -> float | None:
    remaining = context.time_remaining()
    return None if remaining is None else asyncio.get_running_loop().time() + remaining


def _query(value: embedding_pb2.Input, target: str) -> Query | ValueError:
    kind = value.WhichOneof("content")
    if kind is None:
        return ValueError("the input is empty; set one of image, video, audio, text")
    return Query(modality=kind, content=getattr(value, kind), target=target)


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


def _k(given: int, default: int, maximum: int, name: str) -> int:
    if given > maximum:
        raise ValueError(f"{name} {given} is over the limit of {maximum}")
    return given or default


def _floats(vector: retrieval_pb2.Vector) -> np.ndarray:
    return np.array(vector.values, np.float32)


def _item_error(error: ValueError) -> embedding_pb2.ItemError:
    return embedding_pb2.ItemError(code=_INVALID_ARGUMENT, message=str(error))


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


def _struct(value: dict[str, object]) -> struct_pb2.Struct:
    return json_format.ParseDict(value, struct_pb2.Struct())
