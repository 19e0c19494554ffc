"""Traces by OpenTelemetry, where `imp-eval[tracing]` is installed and an endpoint is given.

Without, `span` costs a function call. A call's own span continues the caller's trace (the W3C
`traceparent` in its metadata); stages are spans below it.
"""

import contextlib
import dataclasses
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

_NOTHING: AbstractContextManager[Any] = contextlib.nullcontext()


@dataclasses.dataclass
class _Tracer:
    tracer: Any = None


# One a process, as OpenTelemetry's own.
_current = _Tracer()


def start(endpoint: str, *, service: str = "imp-eval") -> contextlib.ExitStack:
    """Sends spans to an OTLP collector's gRPC address until the result is closed.

    Raises ValueError where OpenTelemetry isn't installed.
    """
    try:
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ModuleNotFoundError as error:
        raise ValueError(
            f"tracing needs {error.name}; install it with pip install 'imp-eval[tracing]'"
        ) from error
    provider = TracerProvider(resource=Resource.create({"service.name": service}))
    provider.add_span_processor(
        BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint, insecure=True))
    )
    _current.tracer = provider.get_tracer("imp_eval")
    ending = contextlib.ExitStack()
    ending.callback(provider.shutdown)
    ending.callback(setattr, _current, "tracer", None)
    return ending


def span(name: str, **attributes: str | int | float) -> AbstractContextManager[Any]:
    """A span of the stage `name` below the current one."""
    if _current.tracer is None:
        return _NOTHING
    return _current.tracer.start_as_current_span(name, attributes=attributes)


def call_span(method: str, metadata: Mapping[str, str]) -> AbstractContextManager[Any]:
    """A span of a call, below the caller's own if its metadata names one."""
    if _current.tracer is None:
        return _NOTHING
    from opentelemetry import propagate
    from opentelemetry.trace import SpanKind

    return _current.tracer.start_as_current_span(
        method.lstrip("/"),
        context=propagate.extract(dict(metadata)),
        kind=SpanKind.SERVER,
        attributes={"rpc.system": "grpc", "rpc.method": method},
    )
