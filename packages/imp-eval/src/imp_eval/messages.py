"""Between protobuf messages and the engine's types, for every servicer."""

import asyncio
from collections.abc import Sequence
from typing import Any, TypeAlias

import grpc
import numpy as np

from imp_eval import tokens
from imp_eval.decoding import DecoderError
from imp_eval.engine import Engine, Query
from imp_eval.fields import FieldError
from imp_proto.v1 import embedding_pb2

# grpc.aio.ServicerContext in spirit; what grpc passes is no instance of it.
Context: TypeAlias = Any
_INVALID_ARGUMENT = grpc.StatusCode.INVALID_ARGUMENT.value[0]
_INTERNAL = grpc.StatusCode.INTERNAL.value[0]


async def embed(
    engine: Engine, queries: Sequence[Query | ValueError], context: Context
) -> list[np.ndarray | ValueError]:
    """An embedding for each query, or its error; a query that is an error already stays it."""
    tokens.charge(len(queries))
    good = [query for query in queries if isinstance(query, Query)]
    results = iter(await engine.embed(good, deadline=deadline_of(context)) if good else ())
    return [next(results) if isinstance(query, Query) else query for query in queries]


def deadline_of(context: Context) -> float | None:
    """The caller's deadline on the event loop's clock."""
    remaining = context.time_remaining()
    return None if remaining is None else asyncio.get_running_loop().time() + remaining


def query_of(value: embedding_pb2.Input, target: str) -> Query | ValueError:
    """What to embed for comparison with `target`, or why this can't be."""
    kind = value.WhichOneof("content")
    if kind is None:
        return ValueError("the input is empty; set one of image, video, audio, text")
    return Query(modality=kind, content=getattr(value, kind), target=target)


def count_or_default(given: int, default: int, maximum: int, name: str) -> int:
    """The field `name` as given, or its default where it is 0. FieldError above the maximum."""
    if given > maximum:
        raise FieldError(name, f"{name} {given} is over the limit of {maximum}")
    return given or default


def item_error(error: ValueError) -> embedding_pb2.ItemError:
    code = _INTERNAL if isinstance(error, DecoderError) else _INVALID_ARGUMENT
    return embedding_pb2.ItemError(code=code, message=" ".join(str(error).split()))
