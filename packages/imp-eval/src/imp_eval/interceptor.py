"""What surrounds every call: who calls, which model answers, how it ended, what is told of it."""

import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from imp_eval import tokens as callers
from imp_eval.batcher import OverloadedError
from imp_eval.calls import MODEL_KEY
from imp_eval.messages import Context
from imp_eval.metrics import Metrics
from imp_eval.models import Models
from imp_eval.statuses import ERRORS, status_of
from imp_eval.tokens import Tokens
from imp_eval.tracing import call_span

logger = logging.getLogger(__name__)
# Load balancers ask for these with no token.
_OPEN = "/grpc.health.v1.Health/"
_OURS = "/imp.v1."


class CallInterceptor(grpc.aio.ServerInterceptor):
    """Our errors -> gRPC statuses, in unary and in streaming calls."""

    def __init__(
        self,
        models: Models,
        metrics: Metrics,
        *,
        tokens: Tokens | None,
        max_calls: int,
        log_calls: bool,
    ) -> None:
        self._models = models
        self._metrics = metrics
        self._tokens = tokens
        self._max_calls = max_calls
        self._log_calls = log_calls
        self._running = 0

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler:
        handler = await continuation(handler_call_details)
        method = handler_call_details.method
        metadata = dict(handler_call_details.invocation_metadata or ())
        if handler is None or method.startswith(_OPEN):
            return handler
        try:
            caller = self._admit(metadata)
        except ERRORS as error:
            return self._refusal(method, error)
        if not method.startswith(_OURS):
            return handler
        if handler.unary_unary is not None:
            return grpc.unary_unary_rpc_method_handler(
                self._unary(handler, method, metadata, caller),
                response_serializer=handler.response_serializer,
            )
        assert handler.stream_stream is not None, f"{method} is of a kind that none of ours is"
        return grpc.stream_stream_rpc_method_handler(
            self._stream(handler, method, metadata, caller),
            response_serializer=handler.response_serializer,
        )

    def _admit(self, metadata: dict[str, Any]) -> callers.Caller | None:
        """The caller, if it may call now. Before a byte of the request is read."""
        caller = None
        if self._tokens is not None:
            caller = self._tokens.authenticate(metadata)
            caller.check()
            caller.charge(1)
        if self._running >= self._max_calls:
            raise OverloadedError(
                f"{self._running} calls are in progress, the bound; try again later", 0.1
            )
        return caller

    def _refusal(self, method: str, error: Exception) -> grpc.RpcMethodHandler:
        """As a stream, whatever the method is: its request is then never read."""

        async def refuse(requests: object, context: Context) -> AsyncIterator[bytes]:
            await self._abort(context, method, error, time.monotonic())
            yield b""

        return grpc.stream_stream_rpc_method_handler(refuse)

    def _unary(
        self,
        handler: grpc.RpcMethodHandler,
        method: str,
        metadata: dict[str, Any],
        caller: callers.Caller | None,
    ) -> Callable[[Any, Context], Awaitable[Any]]:
        async def call(request: bytes, context: Context) -> Any:
            began = time.monotonic()
            with self._around(method, metadata, caller) as around:
                try:
                    around.enter_context(self._models.lease(metadata.get(MODEL_KEY)))
                    response = await handler.unary_unary(_parsed(handler, request), context)
                except ERRORS as error:
                    await self._abort(context, method, error, began)
                    raise AssertionError("abort raises") from error
                except BaseException as error:
                    self._ended(method, _name(error), began)
                    raise
                self._ended(method, "OK", began)
                return response

        return call

    def _stream(
        self,
        handler: grpc.RpcMethodHandler,
        method: str,
        metadata: dict[str, Any],
        caller: callers.Caller | None,
    ) -> Callable[[Any, Context], AsyncIterator[Any]]:
        async def parsed(requests: AsyncIterator[bytes]) -> AsyncIterator[Any]:
            async for request in requests:
                yield _parsed(handler, request)

        async def call(requests: AsyncIterator[bytes], context: Context) -> AsyncIterator[Any]:
            began = time.monotonic()
            with self._around(method, metadata, caller) as around:
                try:
                    around.enter_context(self._models.lease(metadata.get(MODEL_KEY)))
                    async for response in handler.stream_stream(parsed(requests), context):
                        yield response
                except ERRORS as error:
                    await self._abort(context, method, error, began)
                except BaseException as error:
                    self._ended(method, _name(error), began)
                    raise
                self._ended(method, "OK", began)

        return call

    def _around(
        self, method: str, metadata: dict[str, Any], caller: callers.Caller | None
    ) -> ExitStack:
        around = ExitStack()
        self._running += 1
        self._metrics.running(1)
        around.callback(self._leave)
        callers.set_caller(caller)
        around.enter_context(call_span(method, metadata))
        return around

    def _leave(self) -> None:
        self._running -= 1
        self._metrics.running(-1)

    async def _abort(self, context: Context, method: str, error: Exception, began: float) -> None:
        status = status_of(error)
        if status.code is grpc.StatusCode.INTERNAL:
            logger.error("%s failed", method, exc_info=error)
        self._ended(method, status.code.name, began)
        await context.abort(status.code, status.message, status.trailing)

    def _ended(self, method: str, code: str, began: float) -> None:
        seconds = time.monotonic() - began
        self._metrics.call(method.rpartition("/")[2], code, seconds)
        if self._log_calls:
            caller = callers.current_caller()
            fields = {
                "method": method,
                "code": code,
                "seconds": round(seconds, 6),
                "caller": caller.name if caller is not None else None,
            }
            logger.info("%s %s in %.4f s", method, code, seconds, extra={"fields": fields})


def _parsed(handler: grpc.RpcMethodHandler, request: bytes) -> Any:
    """The request's message. Here and not in gRPC, which would call broken bytes UNKNOWN."""
    try:
        return handler.request_deserializer(request)
    except DecodeError as error:
        raise ValueError("the request is no message of this method's kind, or not UTF-8") from error


def _name(error: BaseException) -> str:
    return "CANCELLED" if type(error).__name__ in ("CancelledError", "GeneratorExit") else "UNKNOWN"
