"""The server: one process, one event loop, the bundles' services on one port."""

import asyncio
import contextlib
import dataclasses
import logging
import math
import os
import pathlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

import grpc
import prometheus_client
from grpc_channelz.v1 import channelz, channelz_pb2
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from imp_eval import tracing
from imp_eval.batcher import Batcher
from imp_eval.binding import bind
from imp_eval.decoding import Decoders
from imp_eval.engine import Engine
from imp_eval.inference import Encoder, use_compilation_cache
from imp_eval.interceptor import CallInterceptor
from imp_eval.metrics import Metrics
from imp_eval.models import Models
from imp_eval.open_store import open_store
from imp_eval.ordered import Drain
from imp_eval.preprocess import Preprocessor
from imp_eval.retrieval_service import RetrievalServicer
from imp_eval.server_config import ServerConfig
from imp_eval.service import ClassificationServicer, EmbeddingServicer
from imp_eval.tokens import Tokens
from imp_eval.vector_store import VectorStore
from imp_model import bundle as bundles
from imp_proto.v1 import embedding_pb2, embedding_pb2_grpc, retrieval_pb2, retrieval_pb2_grpc

logger = logging.getLogger(__name__)
_SERVICES = tuple(
    service.full_name
    for file in (embedding_pb2.DESCRIPTOR, retrieval_pb2.DESCRIPTOR)
    for service in file.services_by_name.values()
)
_CHANNELZ = channelz_pb2.DESCRIPTOR.services_by_name["Channelz"].full_name


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ready:
    """Where a server that is ready listens; `pids` are its decoders'."""

    host: str
    port: int
    metrics_port: int | None
    pids: Callable[[], list[int]]


async def serve(
    bundle: pathlib.Path | Mapping[str, pathlib.Path],
    config: ServerConfig,
    *,
    stop: asyncio.Event,
    reload: asyncio.Event | None = None,
    ready: Callable[[Ready], object] = lambda where: None,
) -> None:
    """Serves a bundle, or several by name, until `stop` is set, then drains.

    `reload` looks for changed bundles, as does `watch_seconds`. `ready` is called when all is
    compiled. Raises FileNotFoundError or ValueError, one line each, for a bundle, data folder,
    certificate, token file or port that can't be used.
    """
    start = time.monotonic()
    if config.compilation_cache is not None:
        use_compilation_cache(config.compilation_cache)
    paths = bundle if isinstance(bundle, Mapping) else {"default": bundle}
    for path in paths.values():
        bundles.digest_of(path)
    tokens = None if config.tokens is None else Tokens.load(config.tokens)
    async with contextlib.AsyncExitStack() as ending:
        metrics, drain = Metrics(), Drain()
        if config.otlp_endpoint is not None:
            ending.push(tracing.start(config.otlp_endpoint).__exit__)
        store = await open_store(config.data)
        ending.push_async_callback(store.close)
        decoders = Decoders(config.decoders, config.decode_limits, metrics)
        ending.push_async_callback(decoders.close)
        models = Models(paths, _builder(config, decoders, metrics), metrics)
        server = _server(
            config,
            CallInterceptor(
                models,
                metrics,
                tokens=tokens,
                max_calls=config.max_calls,
                log_calls=config.log_calls,
            ),
        )
        port = bind(server, config)
        metrics_port = _serve_metrics(config, metrics, models, ending)
        await asyncio.gather(models.load(), decoders.ready())
        ending.push_async_callback(models.close)
        healthy = _add_services(server, models, store, config, drain)
        await ending.enter_async_context(_gallery(config, models, store))
        await server.start()
        await _set_health(healthy, health_pb2.HealthCheckResponse.SERVING)
        if config.port_file is not None:
            _write_whole(config.port_file, f"{port}\n")
        logger.info("ready after %.1f s", time.monotonic() - start)
        where = Ready(
            host=config.host, port=port, metrics_port=metrics_port, pids=lambda: decoders.pids
        )
        async with _reloading(models, reload, config.watch_seconds):
            ready(where)
            await stop.wait()
        logger.info("draining for up to %g s", config.drain_seconds)
        await healthy.enter_graceful_shutdown()
        drain.begin()
        await server.stop(config.drain_seconds)
    logger.info("stopped")


@contextlib.asynccontextmanager
async def _gallery(config: ServerConfig, models: Models, store: VectorStore) -> AsyncIterator[None]:
    if config.gallery_port is None:
        yield
        return
    try:
        # Here and not above: an extra of the package.
        from imp_eval import gallery_page
    except ModuleNotFoundError as error:
        raise ValueError(f"a gallery needs the extra imp-eval[gallery] ({error})") from error
    page = gallery_page.Gallery(
        models,
        RetrievalServicer(store),
        ClassificationServicer(),
        files=config.gallery_files,
        max_bytes=config.limits.max_message_bytes,
    )
    async with gallery_page.serving(page, config.gallery_host, config.gallery_port):
        yield


def _builder(
    config: ServerConfig, decoders: Decoders, metrics: Metrics
) -> Callable[[pathlib.Path], Awaitable[Engine]]:
    """Loads and compiles the bundle at a path."""

    def load(path: pathlib.Path) -> tuple[Encoder, Preprocessor]:
        loaded = bundles.load(path)
        encoder = Encoder(loaded, batch_size=config.batch_size, text_lengths=config.text_lengths)
        preprocessor = Preprocessor(
            encoder.views, loaded.tokenizer_path, limits=config.decode_limits.media
        )
        encoder.compile()
        return encoder, preprocessor

    async def build(path: pathlib.Path) -> Engine:
        encoder, preprocessor = await asyncio.to_thread(load, path)
        batcher = Batcher(
            encoder,
            max_delay=config.max_delay_ms / 1000,
            max_pending=config.max_pending,
            max_wait=math.inf if config.max_wait_ms is None else config.max_wait_ms / 1000,
            metrics=metrics,
        )
        return Engine(
            encoder,
            preprocessor,
            batcher,
            decoders=decoders,
            limits=config.limits,
            metrics=metrics,
        )

    return build


def _server(config: ServerConfig, interceptor: CallInterceptor) -> grpc.aio.Server:
    limit = config.limits.max_message_bytes
    return grpc.aio.server(
        interceptors=[interceptor],
        # The interceptor refuses sooner, and says when to come back.
        maximum_concurrent_rpcs=4 * config.max_calls,
        compression=grpc.Compression.Gzip if config.gzip else None,
        options=[
            ("grpc.max_receive_message_length", limit),
            ("grpc.max_send_message_length", limit),
            # Else a second server on a taken port would share it silently.
            ("grpc.so_reuseport", 0),
            ("grpc.enable_channelz", 1),
            # Clients that keep long streams alive across a firewall.
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
        ],
    )


def _serve_metrics(
    config: ServerConfig, metrics: Metrics, models: Models, ending: contextlib.AsyncExitStack
) -> int | None:
    """The port of /metrics, in a thread of its own until `ending`."""
    if config.metrics_port is None:
        return None
    metrics.watch(
        "imp_pending_items",
        "Items accepted and not yet answered",
        ["model", "modality"],
        lambda: {
            (name, modality): count
            for name, engine in models.engines.items()
            for modality, count in dict(engine.pending).items()
        },
    )
    metrics.watch(
        "imp_model_info",
        "1 for the bundle that serves under a name",
        ["model", "digest"],
        lambda: {(name, e.encoder.digest): 1.0 for name, e in models.engines.items()},
    )
    try:
        http, thread = prometheus_client.start_http_server(
            config.metrics_port, config.host, metrics.registry
        )
    except OSError as error:
        raise ValueError(
            f"{config.host}:{config.metrics_port} can't be bound for metrics ({error.strerror}); "
            "give another --metrics-port"
        ) from error
    ending.callback(thread.join)
    ending.callback(http.server_close)
    ending.callback(http.shutdown)
    return http.server_port


def _add_services(
    server: grpc.aio.Server,
    models: Models,
    store: VectorStore,
    config: ServerConfig,
    drain: Drain,
) -> health.aio.HealthServicer:
    embedding_pb2_grpc.add_EmbeddingServiceServicer_to_server(
        EmbeddingServicer(models, config.decode_limits, drain), server
    )
    embedding_pb2_grpc.add_ClassificationServiceServicer_to_server(ClassificationServicer(), server)
    retrieval_pb2_grpc.add_RetrievalServiceServicer_to_server(RetrievalServicer(store), server)
    healthy = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(healthy, server)
    channelz.add_channelz_servicer(server)
    reflection.enable_server_reflection(
        (*_SERVICES, health.SERVICE_NAME, _CHANNELZ, reflection.SERVICE_NAME), server
    )
    return healthy


async def _set_health(
    healthy: health.aio.HealthServicer, status: "health_pb2.HealthCheckResponse.ServingStatus"
) -> None:
    for name in ("", *_SERVICES):
        await healthy.set(name, status)


@contextlib.asynccontextmanager
async def _reloading(
    models: Models, reload: asyncio.Event | None, seconds: float
) -> AsyncIterator[None]:
    """Reloads when asked, and every so many seconds where these are over 0."""

    async def when_asked(asked: asyncio.Event) -> None:
        while True:
            await asked.wait()
            asked.clear()
            await models.reload()

    tasks = [asyncio.create_task(when_asked(reload))] if reload is not None else []
    if seconds:
        tasks.append(asyncio.create_task(models.watch(seconds)))
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _write_whole(path: pathlib.Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text)
    temporary.rename(path)
