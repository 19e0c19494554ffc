"""EmbeddingService and ClassificationService: protobuf in and out over Engine.

Servicers raise our own errors; the server's interceptor turns them into gRPC statuses.
"""

import numpy as np
from google.protobuf import json_format, struct_pb2

from imp_data.views import to_json
from imp_eval.engine import Engine, Query
from imp_eval.messages import Context, count_or_default, deadline_of, embed, item_error, query_of
from imp_eval.preprocess import SERVICE_LIMITS
from imp_proto.v1 import embedding_pb2, embedding_pb2_grpc


class EmbeddingServicer(embedding_pb2_grpc.EmbeddingServiceServicer):
    """See embedding.proto."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def Embed(  # noqa: N802
        self, request: embedding_pb2.EmbedRequest, context: Context
    ) -> embedding_pb2.EmbedResponse:
        limits = self._engine.limits
        limits.check_count(len(request.items), "items", limits.max_items)
        queries = [query_of(item.input, item.target) for item in request.items]
        results = await embed(self._engine, queries, context)
        response = embedding_pb2.EmbedResponse()
        for query, result in zip(queries, results, strict=True):
            if isinstance(result, ValueError):
                response.results.add(error=item_error(result))
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
        k = min(count_or_default(request.top_k, 5, limits.max_k, "top_k"), len(request.class_names))
        queries = [query_of(value, "text") for value in request.inputs]
        good = [query for query in queries if isinstance(query, Query)]
        classified = iter(
            await self._engine.classify(
                good, request.class_names, request.templates, deadline=deadline_of(context)
            )
        )
        response = embedding_pb2.ClassifyResponse()
        for query in queries:
            result = next(classified) if isinstance(query, Query) else query
            if isinstance(result, ValueError):
                response.results.add(error=item_error(result))
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


def _struct(value: dict[str, object]) -> struct_pb2.Struct:
    return json_format.ParseDict(value, struct_pb2.Struct())
