"""A synchronous client of the service. Thread-safe."""

import dataclasses
import itertools
import pathlib
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, TypeAlias

import grpc
import numpy as np

from imp_eval import filters
from imp_eval.filters import Value
from imp_eval.vector_store import Hit
from imp_proto.v1 import embedding_pb2, embedding_pb2_grpc, retrieval_pb2, retrieval_pb2_grpc

DEFAULT_ADDRESS = "127.0.0.1:50051"
_SUFFIXES: dict[str, frozenset[str]] = {
    "image": frozenset([".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff"]),
    "video": frozenset([".mp4", ".webm", ".mkv", ".mov", ".avi", ".m4v", ".mpg", ".mpeg"]),
    "audio": frozenset([".wav", ".flac", ".mp3", ".ogg", ".opus", ".m4a", ".aac"]),
    "text": frozenset([".txt"]),
}
# Calls that the server refused or never saw.
_RETRIED = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED)

_PAGE = 1000

Input: TypeAlias = embedding_pb2.Input
# Fields and the values that they must have, or a filter of retrieval.proto.
Where: TypeAlias = Mapping[str, Value] | retrieval_pb2.Filter


class ServiceError(RuntimeError):
    """A call that failed; `code` is gRPC's name for it, such as NOT_FOUND."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclasses.dataclass(frozen=True, kw_only=True)
class ItemFailure:
    """What stands in a list of results for an input that has none."""

    message: str


def text(value: str) -> Input:
    return Input(text=value)


def media(modality: str, data: bytes) -> Input:
    """An encoded file's bytes as an input."""
    value = Input()
    setattr(value, modality, data)
    return value


def modality_of(path: pathlib.Path) -> str:
    """By the file's suffix. Raises ValueError for one that says nothing."""
    for modality, suffixes in _SUFFIXES.items():
        if path.suffix.lower() in suffixes:
            return modality
    raise ValueError(
        f"{path}: {path.suffix or 'no suffix'} tells no modality; give it with --modality"
    )


def read_file(path: str | pathlib.Path, modality: str | None = None) -> Input:
    """A file as an input; `modality` "audio" takes the sound track of a video file.

    Raises FileNotFoundError, and ValueError for a modality that can't be told or is unknown.
    """
    path = pathlib.Path(path)
    kind = modality or modality_of(path)
    if kind not in _SUFFIXES:
        raise ValueError(f"modality {kind!r} is unknown; one of {', '.join(_SUFFIXES)}")
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}")
    if kind == "text":
        try:
            return Input(text=path.read_text("utf-8-sig"))
        except UnicodeDecodeError as error:
            raise ValueError(f"{path}: not UTF-8 text ({error.reason})") from error
    return media(kind, path.read_bytes())


class Client:
    """`with Client("host:port") as client: ...`; every call raises ServiceError."""

    def __init__(
        self,
        address: str = DEFAULT_ADDRESS,
        *,
        timeout: float = 60.0,
        connect_timeout: float = 5.0,
        attempts: int = 5,
    ) -> None:
        """Connects. Raises ConnectionError, in one line, when nothing answers in `connect_timeout`.

        `timeout` in seconds bounds one call with all its attempts; only a server that is away or
        overloaded is asked again, after growing pauses.
        """
        self._timeout, self._attempts = timeout, attempts
        self._channel = grpc.insecure_channel(
            address,
            options=[
                ("grpc.max_receive_message_length", -1),
                ("grpc.max_send_message_length", -1),
                ("grpc.enable_retries", 0),
            ],
        )
        try:
            grpc.channel_ready_future(self._channel).result(timeout=connect_timeout)
        except grpc.FutureTimeoutError as error:
            self._channel.close()
            raise ConnectionError(
                f"no server answers at {address}; start one with `imp-eval serve --bundle DIR`, "
                "or give its --address HOST:PORT"
            ) from error
        self._embedding = embedding_pb2_grpc.EmbeddingServiceStub(self._channel)
        self._classification = embedding_pb2_grpc.ClassificationServiceStub(self._channel)
        self._retrieval = retrieval_pb2_grpc.RetrievalServiceStub(self._channel)

    def __enter__(self) -> "Client":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        self._channel.close()

    def model(self) -> embedding_pb2.GetModelResponse:
        """What the server embeds, how, and within which limits."""
        return self._call(self._embedding.GetModel, embedding_pb2.GetModelRequest())

    def embed(self, inputs: Sequence[Input], target: str = "") -> list[np.ndarray | ItemFailure]:
        """float32 [k] for each, for comparison with modality `target`, or why there is none."""
        items = [embedding_pb2.EmbedItem(input=value, target=target) for value in inputs]
        response = self._call(self._embedding.Embed, embedding_pb2.EmbedRequest(items=items))
        return [
            ItemFailure(message=result.error.message)
            if result.HasField("error")
            else np.array(result.embedding.values, np.float32)
            for result in response.results
        ]

    def classify(
        self,
        inputs: Sequence[Input],
        class_names: Sequence[str],
        *,
        templates: Sequence[str] = (),
        top_k: int = 5,
    ) -> list[list[tuple[str, float]] | ItemFailure]:
        """(class name, probability) for each, best first, or why there is none."""
        request = embedding_pb2.ClassifyRequest(
            inputs=inputs, class_names=class_names, templates=templates, top_k=top_k
        )
        response = self._call(self._classification.Classify, request)
        return [
            ItemFailure(message=result.error.message)
            if result.HasField("error")
            else [(c.class_name, c.probability) for c in result.classes.classes]
            for result in response.results
        ]

    def create_collection(
        self, name: str, modality: str, query_modality: str = "text", *, exist_ok: bool = False
    ) -> None:
        """Items of `modality`, to be searched by `query_modality`.

        With `exist_ok`, one of that name that is the same in both is kept, with what it holds.
        """
        request = retrieval_pb2.CreateCollectionRequest(
            name=name, modality=modality, query_modality=query_modality
        )
        try:
            self._call(self._retrieval.CreateCollection, request)
        except ServiceError as error:
            if not exist_ok or error.code != "ALREADY_EXISTS":
                raise
            wanted = (name, modality, query_modality)
            there = [(c.name, c.modality, c.query_modality) for c in self.collections()]
            if wanted not in there:
                raise

    def collections(self) -> list[retrieval_pb2.Collection]:
        request = retrieval_pb2.ListCollectionsRequest()
        return list(self._pages(self._retrieval.ListCollections, request, "collections"))

    def drop_collection(self, name: str) -> None:
        self._call(self._retrieval.DropCollection, retrieval_pb2.DropCollectionRequest(name=name))

    def upsert(
        self,
        collection: str,
        items: Mapping[str, Input | np.ndarray],
        metadata: Mapping[str, Mapping[str, Value]] | None = None,
    ) -> dict[str, ItemFailure]:
        """Stores id -> input or vector; returns the ids that could not be, and why."""
        request = retrieval_pb2.UpsertRequest(collection=collection)
        for key, value in items.items():
            item = request.items.add(id=key)
            for name, field in (metadata or {}).get(key, {}).items():
                item.metadata[name].CopyFrom(filters.to_value(field))
            _set_content(item, value)
        response = self._call(self._retrieval.Upsert, request)
        return {
            result.id: ItemFailure(message=result.error.message)
            for result in response.results
            if result.HasField("error")
        }

    def delete(self, collection: str, ids: Sequence[str]) -> int:
        """How many of them were there."""
        request = retrieval_pb2.DeleteRequest(collection=collection, ids=ids)
        return self._call(self._retrieval.Delete, request).num_deleted

    def delete_where(self, collection: str, where: Where) -> int:
        """How many there were."""
        request = retrieval_pb2.DeleteRequest(collection=collection, filter=_filter(where))
        return self._call(self._retrieval.Delete, request).num_deleted

    def search(
        self,
        collection: str,
        query: Input | np.ndarray,
        k: int = 10,
        *,
        where: Where | None = None,
        exact: bool = False,
    ) -> list[Hit]:
        """The k best, best first; `exact` does without a large collection's approximate index."""
        request = retrieval_pb2.SearchRequest(
            collection=collection, k=min(k, _PAGE), filter=_filter(where), exact=exact
        )
        _set_content(request, query)
        found = itertools.islice(self._pages(self._retrieval.Search, request, "hits"), k)
        return [Hit(id=hit.id, score=hit.score, metadata=_metadata(hit)) for hit in found]

    def items(
        self, collection: str, where: Where | None = None
    ) -> Iterator[tuple[str, dict[str, Value]]]:
        """(id, metadata) of all items, or of those that `where` chooses, fetched page by page."""
        request = retrieval_pb2.ListItemsRequest(
            collection=collection, filter=_filter(where), page_size=_PAGE
        )
        for item in self._pages(self._retrieval.ListItems, request, "items"):
            yield item.id, _metadata(item)

    def _pages(self, method: Any, request: Any, field: str) -> Iterator[Any]:
        while True:
            response = self._call(method, request)
            yield from getattr(response, field)
            if not response.next_page_token:
                return
            request.page_token = response.next_page_token

    def _call(self, method: Any, request: Any) -> Any:
        end = time.monotonic() + self._timeout
        for attempt in range(1, self._attempts + 1):
            try:
                return method(request, timeout=max(0.0, end - time.monotonic()))
            except grpc.RpcError as error:
                pause = _pause(error, attempt)
                last = attempt == self._attempts or time.monotonic() + pause >= end
                if last or error.code() not in _RETRIED:
                    raise ServiceError(error.code().name, _details(error)) from error
            time.sleep(pause)
        raise AssertionError("the last attempt returns or raises")


def _pause(error: grpc.RpcError, attempt: int) -> float:
    """Seconds: the server's word if it gave one, else 0.1, 0.2, 0.4..., each +-50 %."""
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-retry-pushback-ms":
            return int(value) / 1000
    return 0.1 * 2 ** (attempt - 1) * random.uniform(0.5, 1.5)


def _details(error: grpc.RpcError) -> str:
    details = " ".join((error.details() or "").split())
    if error.code() is grpc.StatusCode.UNIMPLEMENTED:
        return f"what answers there is no IMP service ({details})"
    return details or error.code().name


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
