"""Collections through the wire: made, filled, searched, dropped, kept, and hostile requests."""

import json

import numpy as np
import pytest

from imp_eval.client import Client, Input, text
from imp_eval.conftest import inputs, png, refused, running, save_bundle, wav
from imp_eval.server import ServerConfig
from imp_model import bundle


def test_collections_from_creation_to_drop(client) -> None:
    client.create_collection("pictures", "image")
    with refused("ALREADY_EXISTS", "there already"):
        client.create_collection("pictures", "image")
    client.create_collection("pictures", "image", exist_ok=True)
    with refused("ALREADY_EXISTS", "there already"):
        client.create_collection("pictures", "video", exist_ok=True)
    pictures = inputs("image", 5)
    failures = client.upsert(
        "pictures",
        {**{f"p{i}": p for i, p in enumerate(pictures)}, "bad": Input(image=b"?"), "t": text("x")},
        {"p2": {"colour": "grün"}},
    )
    assert set(failures) == {"bad", "t"}
    assert "holds image, not text" in failures["t"].message
    [found] = [c for c in client.collections() if c.name == "pictures"]
    assert (found.num_items, found.dim, found.query_modality) == (5, 32, "text")

    by_self = client.search("pictures", pictures[2], 3)
    assert by_self[0].id == "p2"
    assert by_self[0].score == pytest.approx(1, abs=1e-5)
    assert by_self[0].metadata == {"colour": "grün"}

    query = text("a red thing")
    vectors = np.stack(client.embed(pictures, "text"))
    scores = vectors @ client.embed([query], "image")[0]
    hits = client.search("pictures", query, 10)
    assert [hit.id for hit in hits] == [f"p{i}" for i in np.argsort(-scores)]
    np.testing.assert_allclose([hit.score for hit in hits], -np.sort(-scores), atol=1e-6)

    assert client.upsert("pictures", {"p0": 7 * vectors[2]}) == {}
    assert {h.id for h in client.search("pictures", vectors[2], 2)} == {"p0", "p2"}
    assert client.delete("pictures", ["p2", "p2", "no"]) == 1
    assert client.search("pictures", vectors[2], 1)[0].id == "p0"
    client.drop_collection("pictures")
    with refused("NOT_FOUND", "no collection 'pictures'"):
        client.search("pictures", query)


def test_hostile_retrieval_requests(client) -> None:
    client.create_collection("small", "image")
    vector = np.ones(32, np.float32)
    nan = vector.copy()
    nan[3] = np.nan
    failures = client.upsert(
        "small",
        {"nan": nan, "short": vector[:5], "zero": 0 * vector, "": vector, "x" * 513: vector},
    )
    assert len(failures) == 5
    assert "number 3 of the vector is nan" in failures["nan"].message
    assert "5 numbers; this collection has 32" in failures["short"].message
    assert client.search("small", vector) == []
    fields = {"ok": {"key": "v" * 20_000}}
    assert "bytes of metadata" in client.upsert("small", {"ok": vector}, fields)["ok"].message
    with refused("INVALID_ARGUMENT", "is nan"):
        client.search("small", nan)
    with refused("INVALID_ARGUMENT", "k 1001 is over the limit"):
        client.search("small", vector, 1001)
    with refused("INVALID_ARGUMENT", "searched by text or image, not by audio"):
        client.search("small", Input(audio=wav(0)))
    with refused("INVALID_ARGUMENT", "set one of"):
        client.search("small", Input())
    for name in ("../up", "", ".x", "a" * 65):
        with refused("INVALID_ARGUMENT", "collection name"):
            client.create_collection(name, "image")
        with refused("NOT_FOUND", "no collection"):
            client.upsert(name, {"a": vector})
        with refused("NOT_FOUND", "no collection"):
            client.drop_collection(name)
    with refused("INVALID_ARGUMENT", "say what to compare"):
        client.create_collection("pairless", "image", "audio")
    client.drop_collection("small")


def test_collections_outlive_the_server_but_not_the_model(bundle_path, cache, tmp_path) -> None:
    config = ServerConfig(port=0, batch_size=8, data=tmp_path / "data", compilation_cache=cache)
    with running(bundle_path, config) as address, Client(address) as client:
        client.create_collection("kept", "image")
        client.upsert("kept", {"a": Input(image=png(0)), "b": Input(image=png(1))})
        want = client.search("kept", text("a thing"))
        client.delete("kept", ["b"])
    other = save_bundle(tmp_path / "other", seed=1)
    with running(other, config) as address, Client(address) as client:
        vector = np.ones(32, np.float32)
        assert [hit.id for hit in client.search("kept", vector)] == ["a"]
        with refused("FAILED_PRECONDITION", "drop it and index again"):
            client.search("kept", text("a thing"))
        with refused("FAILED_PRECONDITION", "drop it and index again"):
            client.upsert("kept", {"c": Input(image=png(2))})
    assert want[0].score >= want[1].score
    saved = json.loads((tmp_path / "data" / "kept" / "collection.json").read_text())
    assert saved["model_digest"] == bundle.load(bundle_path).digest
