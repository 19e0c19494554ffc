"""A synchronous client of the service. Thread-safe."""

import collections
import itertools
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, TypeVar

import grpc
import numpy as np

from imp_eval import calls
from imp_eval.calls import DEFAULT_ADDRESS, Call, Options, Pages, Where
from imp_eval.filters import Value
from imp_eval.inputs import Input, ItemFailure, media, modality_of, read_file, text
from imp_eval.retries import Attempts, ServiceError
from imp_eval.tls import ClientTls
from imp_eval.vector_store import Hit
from imp_proto.v1 import embedding_pb2, retrieval_pb2

__all__ = [
    "DEFAULT_ADDRESS",
    "Client",
    "ClientTls",
    "Input",
    "ItemFailure",
    "Options",
    "ServiceError",
    "Where",
    "media",
    "modality_of",
    "read_file",
    "text",
]
T = TypeVar("T")


class Client:
    """`with Client("host:port") as client: ...`; every call raises ServiceError."""

    def __init__(
        self,
        address: str = DEFAULT_ADDRESS,
        *,
        timeout: float = 60.0,
        connect_timeout: float = 5.0,
        attempts: int = 5,
        options: Options | None = None,
    ) -> None:
        """Connects. Raises ConnectionError, in one line, when nothing answers in `connect_timeout`,
        and ValueError for an address that can be none.

        `timeout` in seconds bounds one call with all its attempts; only a server that is away or
        overloaded is asked again, after growing pauses. A stream has no timeout.
        """
        calls.check_address(address)
        self._timeout, self._attempts = timeout, attempts
        self._options = options or Options()
        tls, settings = self._options.tls, calls.CHANNEL_OPTIONS
        if tls is None:
            self._channel = grpc.insecure_channel(
                address, settings, compression=self._options.compression
            )
        else:
            self._channel = grpc.secure_channel(
                address, tls.credentials(), settings, compression=self._options.compression
            )
        try:
            grpc.channel_ready_future(self._channel).result(timeout=connect_timeout)
        except grpc.FutureTimeoutError as error:
            self._channel.close()
            raise ConnectionError(nobody_at(address, tls)) from error
        self._methods = calls.methods(self._channel)

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
        return self._send(calls.model())

    def embed(self, inputs: Sequence[Input], target: str = "") -> list[np.ndarray | ItemFailure]:
        """float32 [k] for each, for comparison with modality `target`, or why there is none."""
        return self._send(calls.embed(inputs, target))

    def embed_stream(
        self, inputs: Iterable[Input], target: str = ""
    ) -> Iterator[np.ndarray | ItemFailure]:
        """The same for any number, in order, as they come; neither side holds more than a few.

        Where a server goes away, the stream goes on with the next from what has no answer.
        """
        requests = calls.stream_requests(inputs, target)
        unanswered: collections.deque[embedding_pb2.EmbedRequest] = collections.deque()
        attempts = Attempts(None, self._attempts)
        # gRPC reads requests in a thread of its own, which may outlive its call: one reads at a
        # time, and what it read when its call had ended is left for the next.
        reading, changed = threading.Lock(), threading.Condition()
        left: collections.deque[embedding_pb2.EmbedRequest] = collections.deque()
        ended: set[int] = set()
        broken: list[BaseException] = []
        number = 0

        def outgoing(again: Sequence[Any], own: int) -> Iterator[Any]:
            yield from again
            while True:
                with reading:
                    with changed:
                        changed.wait_for(
                            lambda: len(unanswered) < calls.STREAM_AHEAD or own in ended
                        )
                        if own in ended:
                            return
                    try:
                        request = left.popleft() if left else next(requests, None)
                    except BaseException as error:
                        broken.append(error)  # gRPC would tell only that there was one
                        raise
                    if request is None:
                        return
                    with changed:
                        if own in ended:
                            left.append(request)
                            return
                        unanswered.append(request)
                yield request

        while True:
            stream = self._methods["EmbedStream"](
                outgoing(list(unanswered), number), metadata=self._options.metadata
            )
            try:
                for response in stream:
                    with changed:
                        unanswered.popleft()
                        changed.notify_all()
                    attempts.progressed()
                    yield from calls.vectors(response)
                return
            except grpc.RpcError as error:
                if broken:
                    raise broken[0] from None
                pause = attempts.pause(error)
            finally:
                stream.cancel()
                with changed:
                    ended.add(number)
                    changed.notify_all()
            number += 1
            time.sleep(pause)

    def classify(
        self,
        inputs: Sequence[Input],
        class_names: Sequence[str] = (),
        *,
        classifier: str = "",
        templates: Sequence[str] = (),
        top_k: int = 5,
    ) -> list[list[tuple[str, float]] | ItemFailure]:
        """(class name, probability) for each, best first, or why there is none.

        By class names, or by a classifier that lies in the bundle.
        """
        return self._send(
            calls.classify(
                inputs, class_names, classifier=classifier, templates=templates, top_k=top_k
            )
        )

    def create_collection(
        self, name: str, modality: str, query_modality: str = "text", *, exist_ok: bool = False
    ) -> None:
        """Items of `modality`, to be searched by `query_modality`.

        With `exist_ok`, one of that name that is the same in both is kept, with what it holds.
        """
        try:
            self._send(calls.create_collection(name, modality, query_modality))
        except ServiceError as error:
            if not exist_ok or error.code != "ALREADY_EXISTS":
                raise
            wanted = (name, modality, query_modality)
            there = [(c.name, c.modality, c.query_modality) for c in self.collections()]
            if wanted not in there:
                raise

    def collections(self) -> list[retrieval_pb2.Collection]:
        return list(self._pages(calls.collections()))

    def drop_collection(self, name: str) -> None:
        self._send(calls.drop_collection(name))

    def upsert(
        self,
        collection: str,
        items: Mapping[str, Input | np.ndarray],
        metadata: Mapping[str, Mapping[str, Value]] | None = None,
    ) -> dict[str, ItemFailure]:
        """Stores id -> input or vector; returns the ids that could not be, and why."""
        return self._send(calls.upsert(collection, items, metadata))

    def delete(self, collection: str, ids: Sequence[str]) -> int:
        """How many of them were there."""
        return self._send(calls.delete(collection, ids))

    def delete_where(self, collection: str, where: Where) -> int:
        """How many there were."""
        return self._send(calls.delete_where(collection, where))

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
        found = self._pages(calls.search(collection, query, k, where, exact))
        return list(itertools.islice(found, k))

    def items(
        self, collection: str, where: Where | None = None
    ) -> Iterator[tuple[str, dict[str, Value]]]:
        """(id, metadata) of all items, or of those that `where` chooses, fetched page by page."""
        return self._pages(calls.items(collection, where))

    def _pages(self, pages: Pages[T]) -> Iterator[T]:
        token = ""
        while True:
            found, token = self._send(pages.page(token))
            yield from found
            if not token:
                return

    def _send(self, call: Call[T]) -> T:
        return call.parse(self._call(self._methods[call.method], call.request))

    def _call(self, method: Any, request: Any) -> Any:
        attempts = Attempts(self._timeout, self._attempts)
        while True:
            try:
                return method(request, timeout=attempts.left, metadata=self._options.metadata)
            except grpc.RpcError as error:
                pause = attempts.pause(error)
            time.sleep(pause)


def nobody_at(address: str, tls: ClientTls | None) -> str:
    """What to say where nothing answers."""
    how = "" if tls is None else " in TLS, or its certificate is not trusted"
    return (
        f"no server answers at {address}{how}; start one with `imp-eval serve --bundle DIR`, "
        "or give its --address HOST:PORT"
    )
