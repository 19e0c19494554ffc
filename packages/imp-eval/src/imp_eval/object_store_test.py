"""Collections in an object store: an S3 of moto's on this machine."""

import asyncio
import contextlib
import threading
import time
import urllib.request
from collections.abc import Iterator

import numpy as np
import pytest

from imp_eval.client import Client, ServiceError
from imp_eval.conftest import served
from imp_eval.open_store import open_store

moto = pytest.importorskip("moto.server", reason="moto is not installed")
PLACE = "s3://bucket/collections"


@pytest.fixture
def s3(request) -> dict[str, str]:
    """What a server's environment needs to reach it; docs/RETRIEVAL.md names the same."""
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    request.addfinalizer(server.stop)  # noqa: PT021
    host, port = server.get_host_and_port()
    make = urllib.request.Request(f"http://{host}:{port}/bucket", method="PUT")
    urllib.request.urlopen(make).close()
    return {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ALLOW_HTTP": "true",
        "AWS_ACCESS_KEY_ID": "somebody",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_REGION": "us-east-1",
    }


def vector(key: str) -> np.ndarray:
    return np.random.default_rng(int(key)).normal(size=32).astype(np.float32)


def upsert(client: Client, keys: list[str], **fields: str) -> None:
    items = {key: vector(key) for key in keys}
    assert client.upsert("kept", items, dict.fromkeys(keys, fields)) == {}


def check(client: Client, wanted: set[str]) -> None:
    assert {key for key, _ in client.items("kept")} == wanted
    for key in sorted(wanted)[::7]:
        [best] = client.search("kept", vector(key), 1)
        assert best.id == key


def test_servers_share_a_bucket_and_outlive_kills(s3, bundle_path, cache) -> None:
    @contextlib.contextmanager
    def server() -> Iterator[Client]:
        with served(bundle_path, cache, PLACE, s3) as address, Client(address) as client:
            yield client

    with server() as first, server() as second:
        first.create_collection("kept", "image")
        with pytest.raises(ServiceError, match="is there already"):
            second.create_collection("kept", "image")
        upsert(first, ["0", "1"], by="first")
        upsert(second, ["1", "2"], by="second")
        assert dict(first.items("kept")) == {
            "0": {"by": "first"},
            "1": {"by": "second"},
            "2": {"by": "second"},
        }
        # At the same time, ids in common.
        threads = [
            threading.Thread(
                target=lambda client, start: [
                    upsert(client, [str(i) for i in range(n, n + 10)]) for n in range(start, 40, 5)
                ],
                args=(client, start),
            )
            for client, start in ((first, 0), (second, 3))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        keys = {str(i) for i in range(48)}
        check(first, keys)
        check(second, keys)
    acknowledged: list[str] = []
    with server() as client:
        check(client, keys)

        def write() -> None:
            with contextlib.suppress(ServiceError):
                while True:
                    upsert(client, [str(100 + len(acknowledged))])
                    acknowledged.append(str(100 + len(acknowledged)))

        writer = threading.Thread(target=write)
        writer.start()
        time.sleep(1.5)
    writer.join()
    assert acknowledged
    with server() as client:
        there = {key for key, _ in client.items("kept")}
        under_way = {str(100 + len(acknowledged))}
        assert there - under_way == keys | set(acknowledged)
        check(client, there)
        client.drop_collection("kept")
        assert client.collections() == []


@pytest.mark.parametrize(
    ("place", "change", "reason"),
    [
        ("s3://nowhere/x", {}, "The specified bucket does not exist"),
        (PLACE, {"AWS_ALLOW_HTTP": "false"}, "plain HTTP needs AWS_ALLOW_HTTP=true"),
        (PLACE, {"AWS_ENDPOINT_URL": "http://127.0.0.1:1"}, "Connection refused"),
    ],
)
def test_what_cannot_be_reached_is_told_in_one_line(s3, monkeypatch, place, change, reason) -> None:
    for name, value in (s3 | change).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=f"^collections can't be kept in {place}: {reason}.*$"):
        asyncio.run(open_store(place))
