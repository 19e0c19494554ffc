"""Several bundles side by side, and new ones in the place of old while callers call."""

import concurrent.futures
import pathlib
import shutil
import threading
import time

import numpy as np
import pytest

from imp_eval.client import Client, Options, text
from imp_eval.conftest import Running, inputs, refused, running, save_bundle
from imp_eval.models import named_paths
from imp_eval.server_config import ServerConfig
from imp_model import bundle


@pytest.fixture(scope="module")
def other_path(tmp_path_factory) -> pathlib.Path:
    return save_bundle(tmp_path_factory.mktemp("bundle") / "other", seed=1)


def test_a_call_names_its_model(bundle_path, other_path, cache) -> None:
    config = ServerConfig(port=0, batch_size=8, compilation_cache=cache, decoders=1)
    values = inputs("image", 2)
    with running({"first": bundle_path, "second": other_path}, config) as address:
        rows, digests = {}, {}
        for name in (None, "first", "second"):
            with Client(address, options=Options(model=name)) as client:
                rows[name] = np.stack(client.embed(values))
                streamed = np.stack(list(client.embed_stream(values)))
                assert streamed.tobytes() == rows[name].tobytes()
                model = client.model()
                digests[name] = model.digest
                assert list(model.models) == ["first", "second"]
                assert model.name == name or name is None
        assert rows[None].tobytes() == rows["first"].tobytes()
        assert np.abs(rows["first"] - rows["second"]).max() > 0.01
        assert digests[None] == digests["first"] == bundle.digest_of(bundle_path)
        assert digests["second"] == bundle.digest_of(other_path)
        # A collection belongs to the model that made it.
        with Client(address, options=Options(model="second")) as client:
            client.create_collection("seconds", "image")
        with Client(address) as client:
            with refused("FAILED_PRECONDITION", "index again"):
                client.search("seconds", text("a thing"))


def test_a_new_bundle_takes_over_without_a_dropped_request(
    bundle_path, other_path, cache, tmp_path
) -> None:
    """By a symlink that is moved, under callers; one that is broken changes nothing."""
    link = tmp_path / "current"
    link.symlink_to(bundle_path)
    config = ServerConfig(port=0, batch_size=8, compilation_cache=cache, decoders=1)
    stop = threading.Event()
    old, new = bundle.digest_of(bundle_path), bundle.digest_of(other_path)

    def caller(address: str) -> list[str]:
        seen = []
        with Client(address, attempts=1) as client:
            while not stop.is_set():
                response = client._call(client._methods["Embed"], request)
                assert all(result.HasField("embedding") for result in response.results)
                got = response.results[0].embedding.values
                assert (got == want[response.model_digest]).all()
                seen.append(response.model_digest)
        return seen

    from imp_eval import calls

    request = calls.embed([*inputs("image", 2), text("a thing")], "").request
    request.items[2].target = "image"
    want = {}
    for path in (bundle_path, other_path):
        with running(path, config) as address, Client(address) as client:
            response = client._call(client._methods["Embed"], request)
            want[response.model_digest] = np.array(response.results[0].embedding.values)

    with running(link, config) as address:
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            callers = [pool.submit(caller, str(address)) for _ in range(4)]
            time.sleep(0.5)
            broken = tmp_path / "broken"
            shutil.copytree(bundle_path, broken)
            (broken / "bundle.json").write_text((broken / "bundle.json").read_text() + " ")
            (broken / "params.safetensors").write_bytes(b"cut")
            _point(link, broken)
            address.reload()
            time.sleep(0.5)
            _point(link, other_path)
            address.reload()
            _wait_for(address, new)
            time.sleep(0.3)
            stop.set()
            histories = [future.result() for future in callers]
    for seen in histories:
        assert set(seen) == {old, new}
        assert seen == sorted(seen, key=[old, new].index)  # never back


def test_a_folder_that_is_watched(bundle_path, other_path, cache, tmp_path) -> None:
    path = tmp_path / "bundle"
    shutil.copytree(bundle_path, path)
    config = ServerConfig(
        port=0, batch_size=8, compilation_cache=cache, decoders=1, watch_seconds=0.1
    )
    with running(path, config) as address:
        with Client(address) as client:
            # A stream keeps the model that it began with.
            first, rest = threading.Event(), threading.Event()

            def slowly():
                for number in range(66):
                    if number == 33:
                        first.set()
                        assert rest.wait(60)
                    yield text(f"word {number % 2}")

            stream = client.embed_stream(slowly(), "image")
            before = next(stream)
            assert first.wait(30)
            shutil.rmtree(path)
            shutil.copytree(other_path, path)
            _wait_for(address, bundle.digest_of(other_path))
            rest.set()
            rows = [before, *stream]
            assert len(rows) == 66
            assert all(row.tobytes() == rows[n % 2].tobytes() for n, row in enumerate(rows))
            assert client.embed([text("word 0")], "image")[0].tobytes() != rows[0].tobytes()


def test_no_failed_reload_is_the_last(
    bundle_path, other_path, cache, tmp_path, monkeypatch
) -> None:
    """As where the memory does not hold the old and the new, which JAX tells as RuntimeError."""
    link, failed, digest_of = tmp_path / "current", threading.Event(), bundle.digest_of
    link.symlink_to(bundle_path)

    def full(path):
        if not failed.is_set():
            failed.set()
            raise RuntimeError("RESOURCE_EXHAUSTED: out of memory")
        return digest_of(path)

    config = ServerConfig(port=0, batch_size=8, compilation_cache=cache, decoders=1)
    with running(link, config) as address:
        monkeypatch.setattr(bundle, "digest_of", full)
        _point(link, other_path)
        address.reload()
        assert failed.wait(60)
        address.reload()
        _wait_for(address, digest_of(other_path))


def test_names_of_bundles() -> None:
    assert named_paths(("a/b",)) == {"default": pathlib.Path("a/b")}
    assert named_paths(("x=a/b", "c/d")) == {"x": pathlib.Path("a/b"), "d": pathlib.Path("c/d")}
    assert named_paths(("./a=b",)) == {"default": pathlib.Path("./a=b")}
    with pytest.raises(ValueError, match="two bundles are named 'b'"):
        named_paths(("a/b", "c/b"))
    with pytest.raises(ValueError, match="no bundle to serve"):
        named_paths(())


def _point(link: pathlib.Path, target: pathlib.Path) -> None:
    staged = link.with_name("staged")
    staged.symlink_to(target)
    staged.rename(link)


def _wait_for(address: Running, digest: str) -> None:
    with Client(address) as client:
        for _ in range(600):
            if client.model().digest == digest:
                return
            time.sleep(0.05)
    raise AssertionError(f"{digest} never came")
