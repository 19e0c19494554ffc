"""Calls: what a client asks and what it makes of the answer; the two clients only send them."""

import dataclasses
import pathlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Generic, TypeAlias, TypeVar

import grpc
import numpy as np

from imp_eval import filters
from imp_eval.filters import Value
from imp_eval.inputs import Input, ItemFailure
from imp_eval.tls import ClientTls
from imp_eval.vector_store import Hit
from imp_proto.v1 import embedding_pb2, embedding_pb2_grpc, retrieval_pb2, retrieval_pb2_grpc

DEFAULT_ADDRESS = "127.0.0.1:50051"
# The metadata key that names a model; without it the server's first one answers.
MODEL_KEY = "imp-model"
Vectors = list[np.ndarray | ItemFailure]
Answers = list[list[tuple[str, float]] | ItemFailure]
T = TypeVar("T")
# Fields and the values that they must have, or a filter of retrieval.proto.
Where: TypeAlias = Mapping[str, Value] | retrieval_pb2.Filter
_PAGE = 1000
# A stream's messages: few enough bytes to flow, and items enough that a message costs little.
_STREAM_ITEMS, _STREAM_BYTES = 32, 2 << 20
# Messages of a stream sent and not yet answered: transports would take many more.
STREAM_AHEAD = 16


@dataclasses.dataclass(frozen=True)
class Call(Generic[T]):
    """`method` is a name of one of the services'; no two share one."""

    method: str
    request: Any
    parse: Callable[[Any], T]


@dataclasses.dataclass(frozen=True)
class Pages(Generic[T]):
    """Calls of `method` with `request` and one token after another, each of some items."""

    method: str
    request: Any
    parse: Callable[[Any], list[T]]

    def page(self, token: str) -> Call[tuple[list[T], str]]:
        """The items from where `token` stands, and the next token, "" at the end."""
        request = type(self.request)()
        request.CopyFrom(self.request)
        request.page_token = token
        return Call(
            self.method, request, lambda response: (self.parse(response), response.next_page_token)
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """How to reach a server. `token` and `model` go with every call."""

    tls: ClientTls | None = None
    token: str | None = None
    model: str | None = None
    gzip: bool = False

    @classmethod
    def from_environment(cls, values: Mapping[str, str]) -> "Options":
        """IMP_TOKEN, IMP_MODEL, and files IMP_TLS_CA, IMP_TLS_CERT, IMP_TLS_KEY, as are set.

        IMP_TLS=1 alone trusts the system's authorities.
        """
        files = {
            name: pathlib.Path(values[f"IMP_TLS_{name.upper()}"])
            for name in ("ca", "cert", "key")
            if values.get(f"IMP_TLS_{name.upper()}")
        }
        return cls(
            tls=ClientTls(**files) if files or values.get("IMP_TLS") else None,
            token=values.get("IMP_TOKEN") or None,
            model=values.get("IMP_MODEL") or None,
        )

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        token = () if self.token is None else (("authorization", f"Bearer {self.token}"),)
        return token if self.model is None else (*token, (MODEL_KEY, self.model))

    @property
    def compression(self) -> grpc.Compression:
        return grpc.Compression.Gzip if self.gzip else grpc.Compression.NoCompression


def check_address(address: str) -> str:
    """HOST:PORT, or a name of gRPC's own such as dns:///host:port or unix:/path. Raises ValueError
    for what no server can be at."""
    if re.match(r"(dns|ipv4|ipv6|unix|unix-abstract|vsock|xds):", address):
        return address
    match = re.fullmatch(r"(?:\[[0-9A-Fa-f:.]+\]|[^\s:/\[\]]+):(\d{1,5})", address)
    if match is None or not 0 < int(match[1]) < 1 << 16:
        raise ValueError(
            f"address {address!r} must be HOST:PORT, such as {DEFAULT_ADDRESS}, without http://"
        )
    return address


CHANNEL_OPTIONS = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.enable_retries", 0),  # ours know which codes
    ("grpc.keepalive_time_ms", 30_000),
)


def methods(channel: Any) -> dict[str, Any]:
    """Every method of our services on a channel of either kind, by name."""
    stubs = (
        embedding_pb2_grpc.EmbeddingServiceStub,
        embedding_pb2_grpc.ClassificationServiceStub,
        retrieval_pb2_grpc.RetrievalServiceStub,
    )
    return {name: method for stub in stubs for name, method in vars(stub(channel)).items()}


def model() -> Call[embedding_pb2.GetModelResponse]:
    return Call("GetModel", embedding_pb2.GetModelRequest(), lambda response: response)


def embed(inputs: Sequence[Input], target: str) -> Call[Vectors]:
    items = [embedding_pb2.EmbedItem(input=value, target=target) for value in inputs]
    return Call("Embed", embedding_pb2.EmbedRequest(items=items), vectors)


def vectors(response: embedding_pb2.EmbedResponse) -> Vectors:
    return [
        ItemFailure(message=result.error.message)
        if result.HasField("error")
        else np.array(result.embedding.values, np.float32)
        for result in response.results
    ]


def stream_requests(inputs: Iterable[Input], target: str) -> Iterator[embedding_pb2.EmbedRequest]:
    """The inputs in messages of up to _STREAM_ITEMS and about _STREAM_BYTES."""
    request, num_bytes = embedding_pb2.EmbedRequest(), 0
    for value in inputs:
        request.items.add(input=value, target=target)
        num_bytes += value.ByteSize()
        if len(request.items) >= _STREAM_ITEMS or num_bytes >= _STREAM_BYTES:
            yield request
            request, num_bytes = embedding_pb2.EmbedRequest(), 0
    if request.items:
        yield request


def classify(
    inputs: Sequence[Input],
    class_names: Sequence[str],
    *,
    classifier: str,
    templates: Sequence[str],
    top_k: int,
) -> Call[Answers]:
    request = embedding_pb2.ClassifyRequest(
        inputs=inputs,
        class_names=class_names,
        templates=templates,
        top_k=top_k,
        classifier=classifier,
    )

    def parse(response: embedding_pb2.ClassifyResponse) -> Answers:
        return [
            ItemFailure(message=result.error.message)
            if result.HasField("error")
            else [(c.class_name, c.probability) for c in result.classes.classes]
            for result in response.results
        ]

    return Call("Classify", request, parse)


def create_collection(name: str, modality: str, query_modality: str) -> Call[None]:
    request = retrieval_pb2.CreateCollectionRequest(
        name=name, modality=modality, query_modality=query_modality
    )
    return Call("CreateCollection", request, _nothing)


def collections() -> Pages[retrieval_pb2.Collection]:
    request = retrieval_pb2.ListCollectionsRequest()
    return Pages("ListCollections", request, lambda response: list(response.collections))


def drop_collection(name: str) -> Call[None]:
    return Call("DropCollection", retrieval_pb2.DropCollectionRequest(name=name), _nothing)


def upsert(
    collection: str,
    items: Mapping[str, Input | np.ndarray],
    metadata: Mapping[str, Mapping[str, Value]] | None,
) -> Call[dict[str, ItemFailure]]:
    request = retrieval_pb2.UpsertRequest(collection=collection)
    for key, value in items.items():
        item = request.items.add(id=key)
        for name, field in (metadata or {}).get(key, {}).items():
            item.metadata[name].CopyFrom(filters.to_value(field))
        _set_content(item, value)

    def parse(response: retrieval_pb2.UpsertResponse) -> dict[str, ItemFailure]:
        return {
            result.id: ItemFailure(message=result.error.message)
            for result in response.results
            if result.HasField("error")
        }

    return Call("Upsert", request, parse)


def delete(collection: str, ids: Sequence[str]) -> Call[int]:
    request = retrieval_pb2.DeleteRequest(collection=collection, ids=ids)
    return Call("Delete", request, lambda response: response.num_deleted)


def delete_where(collection: str, where: Where) -> Call[int]:
    request = retrieval_pb2.DeleteRequest(collection=collection, filter=_filter(where))
    return Call("Delete", request, lambda response: response.num_deleted)


def search(
    collection: str, query: Input | np.ndarray, k: int, where: Where | None, exact: bool
) -> Pages[Hit]:
    """Pages beyond the first `k` hits too: who asks takes the first `k`."""
    request = retrieval_pb2.SearchRequest(
        collection=collection, k=min(k, _PAGE), filter=_filter(where), exact=exact
    )
    _set_content(request, query)

    def parse(response: retrieval_pb2.SearchResponse) -> list[Hit]:
        return [Hit(id=hit.id, score=hit.score, metadata=_metadata(hit)) for hit in response.hits]

    return Pages("Search", request, parse)


def items(collection: str, where: Where | None) -> Pages[tuple[str, dict[str, Value]]]:
    request = retrieval_pb2.ListItemsRequest(
        collection=collection, filter=_filter(where), page_size=_PAGE
    )

    def parse(response: retrieval_pb2.ListItemsResponse) -> list[tuple[str, dict[str, Value]]]:
        return [(item.id, _metadata(item)) for item in response.items]

    return Pages("ListItems", request, parse)


def _nothing(response: object) -> None:
    return None


def _set_content(message: Any, value: Input | np.ndarray) -> None:
    if isinstance(value, np.ndarray):
        message.vector.values.extend(value.tolist())
    else:
        message.input.CopyFrom(value)


def _filter(where: Where | None) -> retrieval_pb2.Filter | None:
    return filters.where(where) if isinstance(where, Mapping) else where


def _metadata(message: Any) -> dict[str, Value]:
    fields = message.metadata.items()
    return {name: getattr(value, value.WhichOneof("kind")) for name, value in fields}
