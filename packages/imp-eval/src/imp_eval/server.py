"""The server: one process, one event loop, the bundle's services on one port."""

import asyncio
import concurrent.futures
import contextlib
import dataclasses
import logging
import os
import pathlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from imp_eval.batcher import Batcher, ComputeError, OverloadedError
from imp_eval.engine import Engine, RequestLimits
from imp_eval.inference import Encoder, use_compilation_cache
from imp_eval.messages import Context
from imp_eval.open_store import open_store
from imp_eval.preprocess import Preprocessor
from imp_eval.retrieval_service import RetrievalServicer, StaleCollectionError
from imp_eval.service import ClassificationServicer, EmbeddingServicer
from imp_eval.vector_store import AlreadyExistsError, NotFoundError, VectorStore
from imp_model import bundle as bundles
from imp_proto.v1 import embedding_pb2, embedding_pb2_grpc, retrieval_pb2, retrieval_pb2_grpc

logger = logging.getLogger(__name__)

# The first that fits counts: the special ones stand before those that they derive from.
_STATUS: tuple[tuple[type[Exception], grpc.StatusCode], ...] = (
    (NotFoundError, grpc.StatusCode.NOT_FOUND),
    (AlreadyExistsError, grpc.StatusCode.ALREADY_EXISTS),
    (StaleCollectionError, grpc.StatusCode.FAILED_PRECONDITION),
    (OverloadedError, grpc.StatusCode.RESOURCE_EXHAUSTED),
    (ComputeError, grpc.StatusCode.INTERNAL),
    (TimeoutError, grpc.StatusCode.DEADLINE_EXCEEDED),
    (ValueError, grpc.StatusCode.INVALID_ARGUMENT),
    (OSError, grpc.StatusCode.INTERNAL),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ServerConfig:
    """How to serve. `data` None keeps collections in memory; port 0 takes a free one."""

    host: str = "127.0.0.1"
    port: int = 50051
    port_file: pathlib.Path | None = None
    data: pathlib.Path | str | None = None
    batch_size: int = 32
    max_delay_ms: float = 2.0
    max_pending: int = 1024
    decoders: int = os.cpu_count() or 1
    compilation_cache: pathlib.Path | None = None
    drain_seconds: float = 10.0
    gallery_port: int | None = None
    gallery_host: str = "127.0.0.1"
    gallery_files: pathlib.Path | None = None
    limits: RequestLimits = dataclasses.field(default_factory=RequestLimits)

    def __post_init__(self) -> None:
        if not 0 <= self.port < 1 << 16:
            raise ValueError(f"port {self.port} must lie within 0-65535; 0 takes a free one")
        if self.gallery_port is None and self.gallery_files is not None:
            raise ValueError("gallery files are for a gallery; give a gallery port too")
        if self.gallery_files is not None and not self.gallery_files.is_dir():
            raise ValueError(f"gallery files: {self.gallery_files} is no folder")
        if self.decoders < 1:
            raise ValueError(f"decoders {self.decoders} must be at least 1")
        if self.max_pending < self.limits.max_items:
            raise ValueError(
                f"max pending {self.max_pending} must be at least {self.limits.max_items}, the "
                "items of one request"
            )


class StatusInterceptor(grpc.aio.ServerInterceptor):
    """Our errors -> gRPC statuses. Any other is a bug of ours: UNKNOWN, and a traceback."""

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler:
        handler = await continuation(handler_call_details)
        # Streaming calls here are health's and reflection's own.
        if handler is None or handler.unary_unary is None:
            return handler

        async def call(request: object, context: Context) -> object:
            try:
                return await handler.unary_unary(request, context)
            except tuple(kind for kind, _ in _STATUS) as error:
                await _abort(context, error, handler_call_details.method)
                raise AssertionError("abort raises") from error

        return grpc.unary_unary_rpc_method_handler(
            call,
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )


async def _abort(context: Context, error: Exception, method: str) -> None:
    code = next(code for kind, code in _STATUS if isinstance(error, kind))
    if code is grpc.StatusCode.INTERNAL:
        logger.error("%s failed", method, exc_info=error)
    trailing: tuple[tuple[str, str], ...] = ()
    if isinstance(error, OverloadedError):
        trailing = (("grpc-retry-pushback-ms", str(max(1, int(error.retry_after * 1000)))),)
    await context.abort(code, str(error), trailing)


async def serve(
    bundle: pathlib.Path,
    config: ServerConfig,
    *,
    stop: asyncio.Event,
    ready: Callable[[str, int], None] = lambda host, port: None,
) -> None:
    """Serves until `stop` is set, then drains. `ready(host, port)` is called when all is compiled.

    Raises FileNotFoundError or ValueError, one line each, for a bundle, data folder or port that
    can't be used.
    """
    start = time.monotonic()
    if config.compilation_cache is not None:
        use_compilation_cache(config.compilation_cache)
    loaded = bundles.load(bundle)
    encoder = Encoder(loaded, batch_size=config.batch_size)
    preprocessor = Preprocessor(encoder.views, loaded.tokenizer_path)
    limit = config.limits.max_message_bytes
    server = grpc.aio.server(
        interceptors=[StatusInterceptor()],
        maximum_concurrent_rpcs=config.max_pending,
        options=[
            ("grpc.max_receive_message_length", limit),
            ("grpc.max_send_message_length", limit),
            # Else a second server on a taken port would share it silently.
            ("grpc.so_reuseport", 0),
        ],
    )
    port = _bind(server, config)
    store = await open_store(config.data)
    decoders = concurrent.futures.ThreadPoolExecutor(config.decoders, thread_name_prefix="decode")
    gallery = contextlib.AsyncExitStack()
    try:
        await asyncio.to_thread(encoder.compile)
        batcher = Batcher(
            encoder, max_delay=config.max_delay_ms / 1000, max_pending=config.max_pending
        )
        engine = Engine(encoder, preprocessor, batcher, decoders=decoders, limits=config.limits)
        healthy = _add_services(server, engine, store)
        await gallery.enter_async_context(_gallery(config, engine, store))
        await server.start()
        await _set_health(healthy, health_pb2.HealthCheckResponse.SERVING)
        if config.port_file is not None:
            _write_whole(config.port_file, f"{port}\n")
        logger.info("ready after %.1f s", time.monotonic() - start)
        ready(config.host, port)
        await stop.wait()
        await healthy.enter_graceful_shutdown()
        await server.stop(config.drain_seconds)
        await batcher.close()
    finally:
        await gallery.aclose()
        decoders.shutdown(cancel_futures=True)
        await store.close()


@contextlib.asynccontextmanager
async def _gallery(config: ServerConfig, engine: Engine, store: VectorStore) -> AsyncIterator[None]:
    if config.gallery_port is None:
        yield
        return
    try:
        # Here and not above: an extra of the package.
        from imp_eval import gallery_page
    except ModuleNotFoundError as error:
        raise ValueError(f"a gallery needs the extra imp-eval[gallery] ({error})") from error
    page = gallery_page.Gallery(
        RetrievalServicer(engine, store),
        ClassificationServicer(engine),
        files=config.gallery_files,
        max_bytes=config.limits.max_message_bytes,
    )
    async with gallery_page.serving(page, config.gallery_host, config.gallery_port):
        yield


def _bind(server: grpc.aio.Server, config: ServerConfig) -> int:
    host = f"[{config.host}]" if ":" in config.host else config.host
    try:
        port = server.add_insecure_port(f"{host}:{config.port}")
    except RuntimeError as error:
        raise ValueError(
            f"{config.host}:{config.port} can't be bound; is another server there? "
            "Give another --port, or 0 for a free one"
        ) from error
    return port


_SERVICES = tuple(
    service.full_name
    for file in (embedding_pb2.DESCRIPTOR, retrieval_pb2.DESCRIPTOR)
    for service in file.services_by_name.values()
)


def _add_services(
    server: grpc.aio.Server, engine: Engine, store: VectorStore
) -> health.aio.HealthServicer:
    embedding_pb2_grpc.add_EmbeddingServiceServicer_to_server(EmbeddingServicer(engine), server)
    embedding_pb2_grpc.add_ClassificationServiceServicer_to_server(
        ClassificationServicer(engine), server
    )
    retrieval_pb2_grpc.add_RetrievalServiceServicer_to_server(
        RetrievalServicer(engine, store), server
    )
    healthy = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(healthy, server)
    reflection.enable_server_reflection(
        (*_SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME), server
    )
    return healthy


async def _set_health(
    healthy: health.aio.HealthServicer, status: "health_pb2.HealthCheckResponse.ServingStatus"
) -> None:
    for name in ("", *_SERVICES):
        await healthy.set(name, status)


def _write_whole(path: pathlib.Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text)
    temporary.rename(path)
