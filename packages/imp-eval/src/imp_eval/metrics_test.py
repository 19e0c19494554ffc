"""What operators see: metrics, channelz, logs, traces, and errors with their details."""

import concurrent.futures
import json
import logging
import os
import pathlib
import re
import signal
import subprocess
import sys
import time
import urllib.request

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_channelz.v1 import channelz_pb2, channelz_pb2_grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status import rpc_status
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

from imp_eval import calls
from imp_eval.client import Client, Input, Options, text
from imp_eval.conftest import inputs, png, running
from imp_eval.logs import JsonFormatter
from imp_eval.server_config import ServerConfig
from imp_proto.v1 import embedding_pb2


def value_of(page: str, name: str, **labels: str) -> float:
    """The sum over the samples of that name with those labels."""
    found = 0.0
    for line in page.splitlines():
        match = re.fullmatch(rf"{name}(\{{.*\}})? (\S+)", line)
        if match and all(f'{k}="{v}"' in (match[1] or "") for k, v in labels.items()):
            found += float(match[2])
    return found


def test_prometheus_sees_stages_batches_queue_and_errors(bundle_path, cache) -> None:
    config = ServerConfig(port=0, batch_size=8, compilation_cache=cache, decoders=1, metrics_port=0)
    with running(bundle_path, config) as address, Client(address) as client:
        client.embed([*inputs("image", 12), Input(image=b"?")])
        client.embed([text("a")], "image")
        with pytest.raises(Exception, match="holds no items"):
            client.embed([])
        port = address.where.metrics_port
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
            page = answer.read().decode()
    assert value_of(page, "imp_items_total", modality="image", outcome="good") == 12
    assert value_of(page, "imp_items_total", modality="image", outcome="bad") == 1
    bucket = {"bucket": "image-32x32x3>text"}
    assert value_of(page, "imp_batch_rows_total", **bucket) == 12
    assert 2 <= value_of(page, "imp_batches_total", **bucket) <= 12
    assert value_of(page, "imp_batch_fill_count", **bucket) >= 2
    for stage in ("decode", "decode_queue"):
        assert value_of(page, "imp_stage_seconds_count", stage=stage, modality="image") == 13
    for stage in ("batch_queue", "encode", "tokenize"):
        assert value_of(page, "imp_stage_seconds_count", stage=stage, modality="text") == 1
    assert value_of(page, "imp_call_seconds_count", method="Embed", code="OK") == 2
    assert value_of(page, "imp_call_seconds_count", method="Embed", code="INVALID_ARGUMENT") == 1
    assert value_of(page, "imp_model_info", model="default") == 1
    assert value_of(page, "imp_pending_items") == 0
    assert value_of(page, "imp_running_calls") == 0


def test_channelz_and_the_health_of_each_service(address, client) -> None:
    client.embed([text("a")], "image")
    with grpc.insecure_channel(address) as channel:
        servers = channelz_pb2_grpc.ChannelzStub(channel).GetServers(
            channelz_pb2.GetServersRequest()
        )
        assert any(server.data.calls_succeeded for server in servers.server)
        health = health_pb2_grpc.HealthStub(channel)
        for name in ("", "imp.v1.EmbeddingService", "imp.v1.ClassificationService"):
            answer = health.Check(health_pb2.HealthCheckRequest(service=name))
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
        with pytest.raises(grpc.RpcError, check=lambda e: e.code() is grpc.StatusCode.NOT_FOUND):
            health.Check(health_pb2.HealthCheckRequest(service="imp.v1.Nothing"))


def test_an_error_names_the_field(address) -> None:
    cases = [
        ("Embed", embedding_pb2.EmbedRequest(), "items"),
        ("Classify", embedding_pb2.ClassifyRequest(inputs=inputs("image", 1)), "class_names"),
        (
            "Classify",
            calls.classify(
                inputs("image", 1), ["a", ""], classifier="", templates=(), top_k=1
            ).request,
            "class_names[1]",
        ),
        (
            "Classify",
            calls.classify(inputs("image", 1), (), classifier="x", templates=(), top_k=1).request,
            "classifier",
        ),
    ]
    with grpc.insecure_channel(address) as channel:
        for method, request, field in cases:
            with pytest.raises(grpc.RpcError) as error:
                calls.methods(channel)[method](request)
            status = rpc_status.from_call(error.value)
            assert status.message == error.value.details()
            [detail] = status.details
            bad = error_details_pb2.BadRequest()
            assert detail.Unpack(bad)
            [violation] = bad.field_violations
            assert violation.field == field
            assert violation.description == status.message


def test_logs_as_json() -> None:
    record = logging.LogRecord("imp", logging.INFO, "", 0, "hé %s", ("x",), None)
    record.fields = {"code": "OK"}
    entry = json.loads(JsonFormatter().format(record))
    assert (entry["message"], entry["code"], entry["level"]) == ("hé x", "OK", "INFO")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", entry["time"])
    try:
        raise ValueError("why")
    except ValueError:
        record.exc_info = sys.exc_info()
    assert "why" in json.loads(JsonFormatter().format(record))["traceback"]


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """An OpenTelemetry collector that keeps what it gets."""

    def __init__(self) -> None:
        self.spans = []

    def Export(self, request, context):  # noqa: N802
        for resource in request.resource_spans:
            for scope in resource.scope_spans:
                self.spans += scope.spans
        return trace_service_pb2.ExportTraceServiceResponse()


def test_a_server_with_logs_traces_gzip_drains_on_sigterm(
    bundle_path, cache, tmp_path: pathlib.Path
) -> None:
    """As operators run it: a process."""
    collector = Collector()
    backend = grpc.server(concurrent.futures.ThreadPoolExecutor(1))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(collector, backend)
    otlp = f"http://127.0.0.1:{backend.add_insecure_port('127.0.0.1:0')}"
    backend.start()
    command = [sys.executable, "-m", "imp_eval.cli", "serve", "--bundle", str(bundle_path)]
    command += ["--port", "0", "--batch-size", "8", "--compilation-cache", str(cache)]
    command += ["--log-format", "json", "--log-calls", "--gzip", "--decoders", "1"]
    command += ["--otlp-endpoint", otlp, "--max-delay-ms", "300", "--metrics-port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as run:
        try:
            assert run.stdout is not None
            assert run.stdout.readline().startswith(b"metrics on http://127.0.0.1:")
            address = run.stdout.readline().decode().split()[-1]
            options = Options(gzip=True)
            with Client(address, options=options) as client:
                method = client._methods["Embed"]
                trace = "00-" + "ab" * 16 + "-" + "cd" * 8 + "-01"
                request = calls.embed([Input(image=png(0))], "").request
                call = method.future(request, metadata=(("traceparent", trace),))
                # What was accepted before the signal is answered after it.
                time.sleep(0.15)
                os.kill(run.pid, signal.SIGTERM)
                assert len(call.result().results) == 1
            _, errors = run.communicate(timeout=60)
        finally:
            run.kill()
    backend.stop(0)
    assert run.returncode == 0
    lines = [json.loads(line) for line in errors.decode().splitlines()]
    [logged] = [line for line in lines if line.get("method") == "/imp.v1.EmbeddingService/Embed"]
    assert logged["code"] == "OK"
    assert logged["seconds"] >= 0.2
    spans = {span.name: span for span in collector.spans}
    assert {"imp.v1.EmbeddingService/Embed", "decode", "encode"} <= set(spans)
    top = spans["imp.v1.EmbeddingService/Embed"]
    assert top.trace_id.hex() == "ab" * 16
    assert top.parent_span_id.hex() == "cd" * 8
    assert {spans[name].parent_span_id for name in ("decode", "encode")} == {top.span_id}
