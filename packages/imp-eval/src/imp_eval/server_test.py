"""The server itself: overload, health, limits, and what keeps it from starting."""

import asyncio
import concurrent.futures
import dataclasses
import os
import pathlib
import signal
import subprocess
import sys
import time

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from imp_eval import calls
from imp_eval.client import Client, Input, ServiceError, text
from imp_eval.conftest import inputs, refused, running
from imp_eval.server import serve
from imp_eval.server_config import ServerConfig


def test_overload_and_deadlines_through_the_wire(bundle_path, cache) -> None:
    slow = ServerConfig(
        port=0, batch_size=8, max_delay_ms=3_000.0, max_pending=256, compilation_cache=cache
    )
    with running(bundle_path, slow) as address, Client(address, attempts=1) as client:
        with Client(address, timeout=0.3, attempts=1) as hasty:
            with refused("DEADLINE_EXCEEDED", "(?i)deadline"):
                hasty.embed([text("too slow")], "image")
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            many = pool.submit(client.embed, [text(f"{i}") for i in range(255)], "image")
            time.sleep(0.5)  # they are admitted, and the last of them wait for the delay
            with Client(address, attempts=1) as other:
                with refused("RESOURCE_EXHAUSTED", "try again later"):
                    while not many.done():
                        other.embed([text("a"), text("b")], "image")
            # Asked again as the server says, it gets its turn.
            with Client(address, attempts=20) as patient:
                assert len(patient.embed([text("a"), text("b")], "image")) == 2
            assert len(many.result()) == 255


def test_health_and_reflection(address) -> None:
    with grpc.insecure_channel(address) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        for service in ("", "imp.v1.EmbeddingService", "imp.v1.RetrievalService"):
            answer = health.Check(health_pb2.HealthCheckRequest(service=service))
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
        listing = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(
            iter([reflection_pb2.ServerReflectionRequest(list_services="")])
        )
        names = {service.name for service in next(listing).list_services_response.service}
        assert {"imp.v1.EmbeddingService", "imp.v1.ClassificationService"} <= names


def test_a_message_over_the_limit_is_refused(client) -> None:
    with refused("RESOURCE_EXHAUSTED", "larger than max"):
        client.embed([Input(image=bytes((64 << 20) + 1))])


def test_limits_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(ValueError, match="max pending 0 must be at least 1"):
        ServerConfig(max_pending=0)
    with pytest.raises(ValueError, match="drain seconds -1"):
        ServerConfig(drain_seconds=-1)
    with pytest.raises(ValueError, match="port 70000"):
        dataclasses.replace(ServerConfig(), port=70_000)


def test_a_taken_port_and_a_missing_bundle_are_told(address, bundle_path) -> None:
    port = int(address.rpartition(":")[2])
    with pytest.raises(ValueError, match="can't be bound: another server is there"):
        asyncio.run(serve(bundle_path, ServerConfig(port=port), stop=asyncio.Event()))
    with pytest.raises(FileNotFoundError, match="holds no bundle"):
        asyncio.run(serve(pathlib.Path("nowhere"), ServerConfig(port=0), stop=asyncio.Event()))


def test_a_flood_of_videos_neither_starves_nor_shuts_out_texts(bundle_path, cache) -> None:
    config = ServerConfig(port=0, batch_size=8, max_pending=64, decoders=1, compilation_cache=cache)
    clips = inputs("video", 8) * 8
    with running(bundle_path, config) as address, Client(address, attempts=1) as client:
        alone = _seconds(client)
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            floods = [pool.submit(_flood, str(address), clips) for _ in range(4)]
            time.sleep(0.2)
            amid = max(_seconds(client) for _ in range(20))
            refusals = sum(flood.result() for flood in floods)
    assert refusals > 0  # the videos' own queue was full
    assert amid < 2.0 + 5 * alone


def _flood(address: str, clips: list[Input]) -> int:
    """Embeds the clips three times; how often it was refused."""
    refusals = 0
    with Client(address, attempts=1) as client:
        for _ in range(3):
            try:
                client.embed(clips, "text")
            except ServiceError as error:
                if error.code != "RESOURCE_EXHAUSTED":
                    raise
                refusals += 1
    return refusals


def _seconds(client: Client) -> float:
    began = time.monotonic()
    client.embed([text("a word")], "image")
    return time.monotonic() - began


def test_a_crashed_decoder_fails_its_item_alone(bundle_path, cache) -> None:
    config = ServerConfig(port=0, batch_size=8, decoders=1, compilation_cache=cache)
    with running(bundle_path, config) as address, Client(address) as client:
        [pid] = address.where.pids()
        os.kill(pid, signal.SIGSTOP)
        request = calls.embed([*inputs("image", 2), text("a")], "").request
        request.items[2].target = "image"
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            answer = pool.submit(client._call, client._methods["Embed"], request)
            time.sleep(0.2)
            os.kill(pid, signal.SIGKILL)
            results = answer.result().results
        kinds = [result.WhichOneof("result") for result in results]
        assert sorted(kinds) == ["embedding", "embedding", "error"]
        [failed] = [result.error for result in results if result.HasField("error")]
        assert failed.code == grpc.StatusCode.INTERNAL.value[0]
        assert failed.message == "the image decoder was ended by SIGKILL on this file"
        assert address.where.pids() != [pid]


def test_only_our_own_line_tells_of_a_taken_port(address, bundle_path) -> None:
    command = [sys.executable, "-m", "imp_eval.cli", "serve", "--bundle", str(bundle_path)]
    done = subprocess.run(
        [*command, "--port", address.rpartition(":")[2]], capture_output=True, text=True
    )
    assert done.returncode == 2
    [line] = done.stderr.splitlines()
    assert line.startswith("imp-eval: 127.0.0.1:")
