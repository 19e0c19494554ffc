"""Streams through the wire: order, bits, flow, and a server that goes away in the middle."""

import asyncio
import itertools
import pathlib
import resource
import threading
import time

import grpc
import numpy as np
import pytest

from imp_eval import calls
from imp_eval.async_client import AsyncClient
from imp_eval.client import Client, Input, ItemFailure, text
from imp_eval.conftest import inputs, refused, running
from imp_eval.ordered import Drain, in_order
from imp_eval.server_config import ServerConfig
from imp_proto.v1 import embedding_pb2


def test_a_stream_gives_what_calls_give_in_order(address, client) -> None:
    values = [v for m in ("image", "video", "image") for v in inputs(m, 5)] * 8
    values[7], values[40] = Input(image=b"?"), Input()
    want = [
        r for start in range(0, len(values), 10) for r in client.embed(values[start:][:10], "text")
    ]
    got = list(client.embed_stream(iter(values), "text"))
    assert len(got) == len(values)
    for place, (a, b) in enumerate(zip(got, want, strict=True)):
        if place in (7, 40):
            assert a == b
            assert isinstance(a, ItemFailure)
        else:
            assert isinstance(a, np.ndarray), (place, a)
            assert a.tobytes() == b.tobytes()

    async def both() -> list[list[np.ndarray]]:
        async with AsyncClient(address) as asynchronous:

            async def one() -> list[np.ndarray]:
                return [row async for row in asynchronous.embed_stream(iter(values), "text")]

            return await asyncio.gather(one(), one())

    for rows in asyncio.run(both()):
        for place in set(range(len(values))) - {7, 40}:
            assert rows[place].tobytes() == want[place].tobytes()


def test_a_stream_that_nobody_reads_holds_few_items(address, client) -> None:
    """A writer of any number is held up by a reader who doesn't read."""
    taken = 0

    def endless():
        nonlocal taken
        for number in itertools.count():
            taken = number
            yield text(f"word {number} " + "x" * 2_000)

    # Without the window that grows with the link, 64 kB of answers are on their way at most.
    with grpc.insecure_channel(address, [("grpc.http2.bdp_probe", 0)]) as channel:
        requests = calls.stream_requests(endless(), "image")
        stream = calls.methods(channel)["EmbedStream"](requests)
        assert len(next(stream).results) == 32
        seen = -1
        while seen != taken:  # until the writer stands
            seen = taken
            time.sleep(0.5)
        assert taken < 5_000
        assert len(next(stream).results) == 32
        stream.cancel()
    # Our client sends no more than a few messages ahead, whatever the transport would take.
    taken, rows = 0, client.embed_stream(endless(), "image")
    for _ in range(40):
        next(rows)
    time.sleep(0.5)
    assert taken < (calls.STREAM_AHEAD + 4) * 32
    rows.close()
    assert len(client.embed([text("after")], "image")) == 1


def test_a_request_that_makes_no_sense_ends_the_stream_and_is_named(client) -> None:
    requests = [calls.embed([text("a")], "image").request, embedding_pb2.EmbedRequest()]
    stream = client._methods["EmbedStream"](iter(requests))
    assert len(next(stream).results) == 1
    with pytest.raises(grpc.RpcError) as told:
        next(stream)
    assert told.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert told.value.details() == "request 1: the request holds no items; give at least one"


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_stream_goes_on_with_the_next_server(bundle_path, cache, kind) -> None:
    """Every item is answered once, in order, though the first server drained in the middle."""
    values = [text(f"word {i} of a green thing") for i in range(300)]
    config = ServerConfig(port=0, batch_size=8, compilation_cache=cache, drain_seconds=20)
    got: list[np.ndarray] = []
    started = threading.Event()

    def slowly():
        for number, value in enumerate(values):
            if number == 100:
                started.set()
            time.sleep(0.005)
            yield value

    with running(bundle_path, config) as first:
        port = int(first.rpartition(":")[2])
        client = Client(first, attempts=50)

        async def asynchronously() -> None:
            async with AsyncClient(first, attempts=50) as asynchronous:
                async for row in asynchronous.embed_stream(slowly(), "image"):
                    got.append(row)

        reads = {
            "sync": lambda: got.extend(client.embed_stream(slowly(), "image")),
            "async": lambda: asyncio.run(asynchronously()),
        }
        reader = threading.Thread(target=reads[kind])
        reader.start()
        assert started.wait(30)
    again = ServerConfig(port=port, batch_size=8, compilation_cache=cache)
    with running(bundle_path, again):
        reader.join(60)
        want = [r for s in range(0, 300, 100) for r in client.embed(values[s : s + 100], "image")]
        client.close()
    assert len(got) == 300
    assert all(a.tobytes() == b.tobytes() for a, b in zip(got, want, strict=True))


def test_memory_of_a_long_stream_is_flat(client) -> None:
    """Client and server are both in this process; what is under way is bounded."""

    def resident() -> float:
        pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
        return pages * resource.getpagesize() / (1 << 20)

    held = text("a thing " + "x" * 10_000)  # 30 MB of them, were they kept
    rows = client.embed_stream((held for _ in range(3_000)), "image")
    for _ in range(1_000):
        next(rows)
    before = resident()
    assert sum(1 for _ in rows) == 2_000
    assert resident() - before < 15


def test_in_order_overlaps_and_bounds_its_work() -> None:
    running_now = most = 0

    async def answer(number: int) -> int:
        nonlocal running_now, most
        running_now += 1
        most = max(most, running_now)
        await asyncio.sleep(0.02 if number % 3 == 0 else 0.001)
        running_now -= 1
        return number

    async def numbers():
        for number in range(30):
            yield number

    async def main() -> list[int]:
        stream = in_order(numbers(), answer, weight=lambda n: 1.0, window=5.0, drain=Drain())
        return [number async for number in stream]

    assert asyncio.run(main()) == list(range(30))
    assert 3 <= most <= 5


def test_errors_and_drains_end_a_stream_and_its_work() -> None:
    async def endless():
        for number in itertools.count():
            yield number

    async def failing(number: int) -> int:
        if number == 7:
            raise ValueError("seven")
        await asyncio.sleep(0)
        return number

    async def main(drain: Drain, stop_at: int | None) -> list[int]:
        got = []
        stream = in_order(endless(), failing, weight=lambda n: 1.0, window=3.0, drain=drain)
        async for number in stream:
            got.append(number)
            if number == stop_at:
                drain.begin()
        return got

    with pytest.raises(ValueError, match="seven"):
        asyncio.run(main(Drain(), None))
    got = asyncio.run(main(Drain(), 3))
    assert got[:4] == [0, 1, 2, 3]
    assert len(got) < 7


def test_a_stream_of_an_unknown_model_is_refused(address) -> None:
    with Client(address, options=calls.Options(model="other")) as client:
        with refused("NOT_FOUND", "no model 'other' here; there are default"):
            list(client.embed_stream([text("a")], "image"))
        with refused("NOT_FOUND", "no model 'other' here"):
            client.embed([text("a")], "image")
