"""The client for asyncio: the same calls, one channel, any number of them at once."""

import asyncio
import collections
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, TypeVar

import grpc
import numpy as np

from imp_eval import calls
from imp_eval.calls import DEFAULT_ADDRESS, Call, Options, Pages, Where
from imp_eval.client import nobody_at
from imp_eval.filters import Value
from imp_eval.inputs import Input, ItemFailure
from imp_eval.retries import Attempts
from imp_eval.vector_store import Hit
from imp_proto.v1 import embedding_pb2, retrieval_pb2

T = TypeVar("T")


class AsyncClient:
    """`async with AsyncClient("host:port") as client: ...`; every call raises ServiceError.

    What its methods take and give is said at Client's.
    """

    def __init__(
        self,
        address: str = DEFAULT_ADDRESS,
        *,
        timeout: float = 60.0,
        connect_timeout: float = 5.0,
        attempts: int = 5,
        options: Options | None = None,
    ) -> None:
        self._address = calls.check_address(address)
        self._timeout, self._attempts = timeout, attempts
        self._connect_timeout = connect_timeout
        self._options = options or Options()

    async def __aenter__(self) -> "AsyncClient":
        """Raises ConnectionError, in one line, when nothing answers in `connect_timeout`."""
        tls, settings = self._options.tls, calls.CHANNEL_OPTIONS
        compression = self._options.compression
        self._channel = (
            grpc.aio.insecure_channel(self._address, settings, compression)
            if tls is None
            else grpc.aio.secure_channel(self._address, tls.credentials(), settings, compression)
        )
        try:
            async with asyncio.timeout(self._connect_timeout):
                await self._channel.channel_ready()
        except TimeoutError as error:
            await self._channel.close()
            raise ConnectionError(nobody_at(self._address, tls)) from error
        self._methods = calls.methods(self._channel)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._channel.close()

    async def model(self) -> embedding_pb2.GetModelResponse:
        return await self._send(calls.model())

    async def embed(
        self, inputs: Sequence[Input], target: str = ""
    ) -> list[np.ndarray | ItemFailure]:
        return await self._send(calls.embed(inputs, target))

    async def embed_stream(
        self, inputs: Iterable[Input], target: str = ""
    ) -> AsyncIterator[np.ndarray | ItemFailure]:
        requests = calls.stream_requests(inputs, target)
        unanswered: collections.deque[embedding_pb2.EmbedRequest] = collections.deque()
        attempts = Attempts(None, self._attempts)
        answered = asyncio.Event()
        fetch: asyncio.Future[Any] | None = None
        number = 0

        async def outgoing(again: Sequence[Any], own: int) -> AsyncIterator[Any]:
            nonlocal fetch
            for request in again:
                yield request
            while True:
                while len(unanswered) >= calls.STREAM_AHEAD:
                    answered.clear()
                    await answered.wait()
                if fetch is None:
                    # Files are read as they are taken: not on the event loop.
                    fetch = asyncio.ensure_future(asyncio.to_thread(next, requests, None))
                # Whatever becomes of this stream, what was read is for the next.
                request = await asyncio.shield(fetch)
                if request is None or own != number:
                    return
                fetch = None
                unanswered.append(request)
                yield request

        while True:
            sending = outgoing(list(unanswered), number)
            stream = self._methods["EmbedStream"](sending, metadata=self._options.metadata)
            try:
                async for response in stream:
                    unanswered.popleft()
                    answered.set()
                    attempts.progressed()
                    for vector in calls.vectors(response):
                        yield vector
                return
            except (grpc.RpcError, asyncio.CancelledError) as error:
                if fetch is not None and fetch.done() and (broken := fetch.exception()):
                    raise broken from None  # gRPC would tell only that there was one
                if isinstance(error, asyncio.CancelledError):
                    raise
                pause = attempts.pause(error)
            finally:
                stream.cancel()
                number += 1
            await asyncio.sleep(pause)

    async def classify(
        self,
        inputs: Sequence[Input],
        class_names: Sequence[str] = (),
        *,
        classifier: str = "",
        templates: Sequence[str] = (),
        top_k: int = 5,
    ) -> list[list[tuple[str, float]] | ItemFailure]:
        return await self._send(
            calls.classify(
                inputs, class_names, classifier=classifier, templates=templates, top_k=top_k
            )
        )

    async def create_collection(
        self, name: str, modality: str, query_modality: str = "text"
    ) -> None:
        await self._send(calls.create_collection(name, modality, query_modality))

    async def collections(self) -> list[retrieval_pb2.Collection]:
        return [found async for found in self._pages(calls.collections())]

    async def drop_collection(self, name: str) -> None:
        await self._send(calls.drop_collection(name))

    async def upsert(
        self,
        collection: str,
        items: Mapping[str, Input | np.ndarray],
        metadata: Mapping[str, Mapping[str, Value]] | None = None,
    ) -> dict[str, ItemFailure]:
        return await self._send(calls.upsert(collection, items, metadata))

    async def delete(self, collection: str, ids: Sequence[str]) -> int:
        return await self._send(calls.delete(collection, ids))

    async def delete_where(self, collection: str, where: Where) -> int:
        return await self._send(calls.delete_where(collection, where))

    async def search(
        self,
        collection: str,
        query: Input | np.ndarray,
        k: int = 10,
        *,
        where: Where | None = None,
        exact: bool = False,
    ) -> list[Hit]:
        found: list[Hit] = []
        async for hit in self._pages(calls.search(collection, query, k, where, exact)):
            found.append(hit)
            if len(found) == k:
                break
        return found

    async def items(
        self, collection: str, where: Where | None = None
    ) -> AsyncIterator[tuple[str, dict[str, Value]]]:
        async for item in self._pages(calls.items(collection, where)):
            yield item

    async def _pages(self, pages: Pages[T]) -> AsyncIterator[T]:
        token = ""
        while True:
            found, token = await self._send(pages.page(token))
            for item in found:
                yield item
            if not token:
                return

    async def _send(self, call: Call[T]) -> T:
        attempts = Attempts(self._timeout, self._attempts)
        method = self._methods[call.method]
        while True:
            try:
                return call.parse(
                    await method(
                        call.request, timeout=attempts.left, metadata=self._options.metadata
                    )
                )
            except grpc.RpcError as error:
                pause = attempts.pause(error)
            await asyncio.sleep(pause)
