"""The server itself: overload, health, limits, and what keeps it from starting."""

import asyncio
import concurrent.futures
import dataclasses
import pathlib

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from imp_eval.client import Client, Input, text
from imp_eval.conftest import refused, running
from imp_eval.server import ServerConfig, serve


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
    with pytest.raises(ValueError, match="can't be bound; is another server there"):
        asyncio.run(serve(bundle_path, ServerConfig(port=port), stop=asyncio.Event()))
    with pytest.raises(FileNotFoundError, match="holds no bundle"):
        asyncio.run(serve(pathlib.Path("nowhere"), ServerConfig(port=0), stop=asyncio.Event()))
