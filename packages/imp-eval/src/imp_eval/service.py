"""EmbeddingService and ClassificationService: protobuf in and out over Engine.

Servicers raise our own errors; the server's interceptor turns them into gRPC statuses.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence

import numpy as np
from google.protobuf import json_format, struct_pb2

from imp_data.views import to_json
from imp_eval import tokens
from imp_eval.decoding import DecodeLimits
from imp_eval.engine import Engine, Query
from imp_eval.fields import FieldError, check_count
from imp_eval.messages import Context, count_or_default, deadline_of, embed, item_error, query_of
from imp_eval.models import Models, current_engine
from imp_eval.ordered import Drain, in_order
from imp_eval.statuses import DrainingError
from imp_proto.v1 import embedding_pb2, embedding_pb2_grpc

# What one stream may have under way: this share of a request's items, or of its bytes, is a weight.
_STREAM_BATCHES = 4
_STREAM_BYTES = 128 << 20


class EmbeddingServicer(embedding_pb2_grpc.EmbeddingServiceServicer):
    """See embedding.proto."""

    def __init__(self, models: Models, decode_limits: DecodeLimits, drain: Drain) -> None:
        self._models = models
        self._decode_limits = decode_limits
        self._drain = drain

    async def Embed(  # noqa: N802
        self, request: embedding_pb2.EmbedRequest, context: Context
    ) -> embedding_pb2.EmbedResponse:
        engine = current_engine()
        check_count("items", len(request.items), "items", engine.limits.max_items)
        queries = [query_of(item.input, item.target) for item in request.items]
        return _embedded(engine, queries, await embed(engine, queries, context))

    async def EmbedStream(  # noqa: N802
        self, requests: AsyncIterator[embedding_pb2.EmbedRequest], context: Context
    ) -> AsyncIterator[embedding_pb2.EmbedResponse]:
        engine, deadline, caller = current_engine(), deadline_of(context), tokens.current_caller()
        items_at_once = _STREAM_BATCHES * engine.encoder.batch_size
        place = -1

        async def answer(request: embedding_pb2.EmbedRequest) -> embedding_pb2.EmbedResponse:
            nonlocal place
            place += 1
            own = place
            try:
                check_count("items", len(request.items), "items", engine.limits.max_items)
            except FieldError as error:
                raise FieldError(f"[{own}].{error.field}", f"request {own}: {error}") from error
            if caller is not None:
                # A stream waits where a call would be refused.
                await asyncio.sleep(caller.debt())
                caller.charge(len(request.items))
            queries = [query_of(item.input, item.target) for item in request.items]
            good = [query for query in queries if isinstance(query, Query)]
            found = iter(await engine.embed(good, deadline=deadline, wait=True) if good else ())
            results = [next(found) if isinstance(q, Query) else q for q in queries]
            return _embedded(engine, queries, results)

        responses = in_order(
            requests,
            answer,
            weight=lambda r: len(r.items) / items_at_once + r.ByteSize() / _STREAM_BYTES,
            window=1.0,
            drain=self._drain,
        )
        async for response in responses:
            yield response
        if self._drain.begun:
            raise DrainingError("the server is going away; continue on a new stream")

    async def GetModel(  # noqa: N802
        self, request: embedding_pb2.GetModelRequest, context: Context
    ) -> embedding_pb2.GetModelResponse:
        engine = current_engine()
        encoder, limits, decoding = engine.encoder, engine.limits, self._decode_limits
        engines = self._models.engines
        return embedding_pb2.GetModelResponse(
            digest=encoder.digest,
            modalities=[
                embedding_pb2.ModalityInfo(
                    modality=modality,
                    view=view.key,
                    view_fields=_struct(to_json(view)),
                    lengths=encoder.text_lengths if modality == "text" else (),
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
                max_text_bytes=decoding.media.max_text_bytes,
                max_classes=limits.max_classes,
                max_prompts=limits.max_prompts,
                max_k=limits.max_k,
                max_media_bytes=decoding.media.max_bytes,
                max_media_pixels=decoding.media.max_pixels,
                max_media_seconds=decoding.media.max_seconds,
                max_decode_seconds=decoding.seconds,
                max_decode_bytes=decoding.memory,
            ),
            metadata=_struct(encoder.metadata),
            name=next((name for name, e in engines.items() if e is engine), ""),
            models=list(engines),
            classifiers=[
                embedding_pb2.ClassifierInfo(name=name, class_names=labels)
                for name, labels in sorted(encoder.classifiers.items())
            ],
        )


class ClassificationServicer(embedding_pb2_grpc.ClassificationServiceServicer):
    """See embedding.proto."""

    async def Classify(  # noqa: N802
        self, request: embedding_pb2.ClassifyRequest, context: Context
    ) -> embedding_pb2.ClassifyResponse:
        engine, deadline = current_engine(), deadline_of(context)
        limits = engine.limits
        check_count("inputs", len(request.inputs), "inputs", limits.max_items)
        k = count_or_default(request.top_k, 5, limits.max_k, "top_k")
        names: Sequence[str] = request.class_names
        if request.classifier:
            if names or request.templates:
                raise FieldError(
                    "classifier", "give either a classifier's name or class names with templates"
                )
            names = engine.encoder.classifiers.get(request.classifier, ())
        else:
            check_count("class_names", len(names), "class names", limits.max_classes)
        tokens.charge(len(request.inputs))
        queries = [query_of(value, "text") for value in request.inputs]
        good = [query for query in queries if isinstance(query, Query)]
        if request.classifier:
            found = await engine.classify_by(good, request.classifier, deadline=deadline)
        else:
            found = await engine.classify(good, names, request.templates, deadline=deadline)
        classified = iter(found)
        response = embedding_pb2.ClassifyResponse(model_digest=engine.encoder.digest)
        for query in queries:
            result = next(classified) if isinstance(query, Query) else query
            if isinstance(result, ValueError):
                response.results.add(error=item_error(result))
            else:
                response.results.add(classes=_classes(result, names, k))
        return response


def _embedded(
    engine: Engine,
    queries: Sequence[Query | ValueError],
    results: Sequence[np.ndarray | ValueError],
) -> embedding_pb2.EmbedResponse:
    response = embedding_pb2.EmbedResponse(model_digest=engine.encoder.digest)
    for query, result in zip(queries, results, strict=True):
        if isinstance(result, ValueError):
            response.results.add(error=item_error(result))
            continue
        assert isinstance(query, Query)
        source, target = engine.pair(query.modality, query.target)
        embedding = response.results.add().embedding
        embedding.values.extend(result.tolist())
        embedding.source, embedding.target = source, target
    return response


def _classes(probabilities: np.ndarray, names: Sequence[str], k: int) -> embedding_pb2.Classes:
    best = np.argsort(-probabilities, kind="stable")[:k]
    return embedding_pb2.Classes(
        classes=[
            embedding_pb2.ClassProbability(
                class_name=names[i], index=int(i), probability=float(probabilities[i])
            )
            for i in best
        ]
    )


def _struct(value: Mapping[str, object]) -> struct_pb2.Struct:
    return json_format.ParseDict(dict(value), struct_pb2.Struct())
