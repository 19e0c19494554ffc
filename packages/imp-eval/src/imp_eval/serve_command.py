"""`imp-eval serve` and `imp-eval token`: what an operator runs."""

import asyncio
import os
import pathlib
import signal
import sys

import tyro

from imp_eval import logs
from imp_eval.logs import LogFormat
from imp_eval.tokens import new_token


def serve(
    bundle: tuple[str, ...],
    host: str = "127.0.0.1",
    port: int = 50051,
    port_file: pathlib.Path | None = None,
    data: str | None = None,
    batch_size: int = 32,
    max_delay_ms: float = 2.0,
    max_pending: int = 1024,
    max_wait_ms: float | None = None,
    max_calls: int = 1024,
    decoders: int | None = None,
    decode_seconds: float = 30.0,
    decode_mib: int = 1024,
    compilation_cache: pathlib.Path | None = None,
    drain_seconds: float = 10.0,
    watch_seconds: float = 0.0,
    tls_cert: pathlib.Path | None = None,
    tls_key: pathlib.Path | None = None,
    tls_client_ca: pathlib.Path | None = None,
    tokens: pathlib.Path | None = None,
    metrics_port: int | None = None,
    otlp_endpoint: str | None = None,
    gzip: bool = False,
    log_format: LogFormat = "text",
    log_calls: bool = False,
    gallery_port: int | None = None,
    gallery_host: str = "127.0.0.1",
    gallery_files: pathlib.Path | None = None,
) -> int:
    """Serve bundles until SIGTERM or SIGINT; SIGHUP looks for changed ones.

    Args:
        bundle: the folder that training exported; or several, as NAME=DIR or by their folders'
            names, the first the default.
        host: address to listen on; 0.0.0.0 opens the service to the network.
        port: 0 takes a free one.
        port_file: gets the port, once the server is ready.
        data: folder that keeps the collections, or s3://…, or qdrant+http://HOST:PORT; without it
            they are gone when the server stops.
        batch_size: inputs in one run of the encoder.
        max_delay_ms: how long an input may wait for others to fill its batch.
        max_pending: inputs of a modality accepted and not yet answered; beyond them callers are
            told to wait.
        max_wait_ms: what is expected to take longer is refused at once; without, any.
        max_calls: calls in progress; those beyond are refused unread.
        decoders: processes that decode media; as many as there are CPUs, if not given.
        decode_seconds: what decoding one file may take, before its process is replaced.
        decode_mib: memory that decoding one file may take.
        compilation_cache: folder that keeps compiled functions, for a quicker start next time.
        drain_seconds: what running calls get to finish when the server is stopped.
        watch_seconds: how often to look for a changed bundle; 0 waits for SIGHUP.
        tls_cert: the server's certificate in PEM, read anew when it changes.
        tls_key: its key.
        tls_client_ca: callers must show a certificate that this authority signed.
        tokens: file of those who may call, made of lines that `imp-eval token` prints.
        metrics_port: serves Prometheus's /metrics on the same host.
        otlp_endpoint: an OpenTelemetry collector's gRPC address, for traces.
        gzip: compress what is answered.
        log_format: text for people, or json, one object a line.
        log_calls: a line for every call.
        gallery_port: serves a web page for searching and classifying there; it asks for no token.
        gallery_host: address for the gallery.
        gallery_files: the indexed folder, or one that holds a folder for each collection; the
            gallery shows its images, videos and sounds to whoever reaches it.
    """
    # Here and not above: the other commands need no jax and start in a fraction of the time.
    from imp_eval import decoding, models, preprocess, server, server_config
    from imp_eval.tls import ServerTls

    logs.configure(log_format)
    tls = None
    if tls_cert is not None and tls_key is not None:
        tls = ServerTls(cert=tls_cert, key=tls_key, client_ca=tls_client_ca)
    elif tls_cert or tls_key or tls_client_ca:
        raise ValueError("TLS needs both --tls-cert and --tls-key")
    config = server_config.ServerConfig(
        host=host,
        port=port,
        port_file=port_file,
        data=data,
        batch_size=batch_size,
        max_delay_ms=max_delay_ms,
        max_pending=max_pending,
        max_wait_ms=max_wait_ms,
        max_calls=max_calls,
        decoders=decoders if decoders is not None else os.cpu_count() or 1,
        decode_limits=decoding.DecodeLimits(
            media=preprocess.SERVICE_LIMITS, seconds=decode_seconds, memory=decode_mib << 20
        ),
        compilation_cache=compilation_cache,
        drain_seconds=drain_seconds,
        watch_seconds=watch_seconds,
        tls=tls,
        tokens=tokens,
        metrics_port=metrics_port,
        otlp_endpoint=otlp_endpoint,
        gzip=gzip,
        log_calls=log_calls,
        gallery_port=gallery_port,
        gallery_host=gallery_host,
        gallery_files=gallery_files,
    )
    paths = models.named_paths(bundle)

    def tell(at: server.Ready) -> None:
        if at.metrics_port is not None:
            print(f"metrics on http://{at.host}:{at.metrics_port}/metrics")
        print(f"ready on {at.host}:{at.port}", flush=True)

    # Python lets a thread go on for 5 ms: too long for the encoder's to wait for the event loop's.
    sys.setswitchinterval(0.0005)

    async def run() -> None:
        stop, reload = asyncio.Event(), asyncio.Event()
        events = {signal.SIGTERM: stop, signal.SIGINT: stop, signal.SIGHUP: reload}
        for number, event in events.items():
            asyncio.get_running_loop().add_signal_handler(number, event.set)
        await server.serve(paths, config, stop=stop, reload=reload, ready=tell)

    asyncio.run(run())
    return 0


def token(name: tyro.conf.Positional[str], rate: float | None = None) -> int:
    """Make a bearer token: prints it once, and the line for the server's --tokens file.

    Args:
        name: whose it is, for the logs.
        rate: items a second that it may send; without, any number.
    """
    secret, line = new_token(name, rate)
    print(f"token, for {name} alone:  {secret}\nline for the tokens file:  {line}")
    return 0
