"""End to end, through the wire: a real server on a real bundle, and real files."""

import asyncio
import concurrent.futures
import dataclasses
import json
import pathlib
import random

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from imp_data import media
from imp_eval import zero_shot
from imp_eval.client import Client, Input, ItemFailure, ServiceError, text
from imp_eval.client import media as media_input
from imp_eval.conftest import MAKERS, VIEWS, png, running, save_bundle, wav
from imp_eval.preprocess import Preprocessor
from imp_eval.server import ServerConfig, serve
from imp_model import bundle
from imp_proto.v1 import embedding_pb2

TARGETS = {"image": "text", "video": "text", "audio": "video", "text": "image"}


@pytest.fixture
def client(address, request):
    made = Client(address)
    request.addfinalizer(made.close)  # noqa: PT021
    return made


def inputs(modality: str, n: int) -> list[Input]:
    if modality == "text":
        return [text(f"word {i} of a green thing") for i in range(n)]
    return [media_input(modality, MAKERS[modality](i)) for i in range(n)]


def test_bits_do_not_depend_on_company(address, encoder, bundle_path) -> None:
    """Alone, and amid concurrent callers with mixed requests: the same item, the same bits."""
    items = [(value, TARGETS[m]) for m in TARGETS for value in inputs(m, 4)]
    items += [(value, "video") for value in inputs("text", 4)]
    with Client(address) as client:
        alone = [np.asarray(client.embed([v], target)[0]).tobytes() for v, target in items]
    assert len(set(alone)) == len(alone)

    def caller(seed: int) -> int:
        rng, checked = random.Random(seed), 0
        with Client(address) as client:
            for _ in range(4):
                chosen = rng.sample(range(len(items)), rng.randint(1, 12))
                request = embedding_pb2.EmbedRequest(
                    items=[
                        embedding_pb2.EmbedItem(input=items[i][0], target=items[i][1])
                        for i in chosen
                    ]
                )
                response = client._call(client._embedding.Embed, request)
                for i, result in zip(chosen, response.results, strict=True):
                    got = np.array(result.embedding.values, np.float32)
                    assert got.tobytes() == alone[i]
                    checked += 1
        return checked

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(caller, range(8))) > 100

    # And the same as the encoder in this process, over imp_data's own decoding.
    arrays = media.load(items[0][0].image, VIEWS["image"])[None]
    assert encoder.embed("image", arrays, ("image", "text"))[0].tobytes() == alone[0]
    preprocessor = Preprocessor(VIEWS, bundle.load(bundle_path).tokenizer_path)
    tokens = np.asarray(preprocessor.texts([items[12][0].text]))
    assert encoder.embed("text", tokens, ("text", "image"))[0].tobytes() == alone[12]


def test_model_says_what_it_is(client, encoder) -> None:
    model = client.model()
    assert model.digest == encoder.digest
    assert {m.modality: m.view for m in model.modalities} == {
        name: view.key for name, view in VIEWS.items()
    }
    assert [(p.source, p.target) for p in model.pairs] == list(encoder.pairs)
    assert {(p.dim, p.batch_size) for p in model.pairs} == {(32, 8)}
    assert model.modalities[1].view_fields["size"] == 32
    assert dict(model.metadata) == {"experiment": "tiny", "step": 3}


BAD_ITEMS = [
    (Input(image=png(0)[:-300]), "text", "image"),
    (Input(image=b""), "text", "empty"),
    (Input(image=b"GIF89a nonsense"), "text", "not a readable image"),
    (Input(video=wav(0)), "text", ""),
    (Input(audio=png(0)), "video", ""),
    (Input(), "text", "set one of"),
    (Input(text=""), "image", "the text is empty"),
    (Input(text="a\0b"), "image", "control character"),
    (Input(text="x" * 20_000), "image", "over the limit"),
    (Input(image=png(0)), "audio", "'audio' of image is unknown"),
    (Input(text="two targets"), "", "one of image, video"),
    (Input(image=png(0)), "smell", "one of text"),
]


def test_a_bad_item_is_told_in_its_place_and_harms_no_other(client) -> None:
    request, good = embedding_pb2.EmbedRequest(), Input(image=png(1))
    for value, target, _ in BAD_ITEMS:
        request.items.add(input=value, target=target)
        request.items.add(input=good)
    results = client._call(client._embedding.Embed, request).results
    want = client.embed([good], "text")[0]
    for place, (_, _, message) in enumerate(BAD_ITEMS):
        error = results[2 * place].error
        assert error.code == 3
        assert message in error.message
        assert 0 < len(error.message) < 200
        assert "\n" not in error.message
        assert results[2 * place + 1].embedding.target == "text"
        np.testing.assert_array_equal(results[2 * place + 1].embedding.values, want)


def refused(code: str, message: str):
    return pytest.raises(ServiceError, match=rf"{message}", check=lambda e: e.code == code)


def test_requests_that_make_no_sense_are_refused(client) -> None:
    with refused("INVALID_ARGUMENT", "holds no items"):
        client.embed([])
    with refused("INVALID_ARGUMENT", "257 items are over the limit of 256"):
        client.embed([text("x")] * 257, "image")
    one = [Input(image=png(0))]
    with refused("INVALID_ARGUMENT", "holds no class names"):
        client.classify(one, [])
    with refused("INVALID_ARGUMENT", "'a' occurs more than once"):
        client.classify(one, ["a", "b", "a"])
    with refused("INVALID_ARGUMENT", "class name 1: the text is empty"):
        client.classify(one, ["a", " "])
    with refused("INVALID_ARGUMENT", "must hold {} once"):
        client.classify(one, ["a"], templates=["no place"])
    with refused("INVALID_ARGUMENT", "top_k 4000 is over"):
        client.classify(one, ["a"], top_k=4000)
    with refused("INVALID_ARGUMENT", "class names are over the limit"):
        client.classify(one, [str(i) for i in range(2001)])
    with refused("INVALID_ARGUMENT", "prompts are over the limit of 20000"):
        templates = ["{}" + "!" * i for i in range(11)]
        client.classify(one, [str(i) for i in range(2000)], templates=templates)


def test_classification_is_the_softmax_over_averaged_prompts(client, encoder) -> None:
    names, templates = ["red", "green", "blue"], ["{}", "a {} thing"]
    image, broken = Input(image=png(3)), Input(image=b"x")
    got, failure = client.classify([image, broken], names, templates=templates, top_k=3)
    prompts = [[text(t.replace("{}", n)) for t in templates] for n in names]
    embedded = np.stack([np.stack(client.embed(texts, "image")) for texts in prompts])
    cosines = zero_shot.class_embeddings(embedded) @ client.embed([image], "text")[0]
    want = zero_shot.probabilities(cosines[None], encoder.logit_scale(("image", "text")))[0]
    order = np.argsort(-want)
    assert [name for name, _ in got] == [names[i] for i in order]
    np.testing.assert_allclose([p for _, p in got], want[order], rtol=1e-5)
    assert sum(p for _, p in got) == pytest.approx(1)
    assert isinstance(failure, ItemFailure)
    assert len(client.classify([image], names, top_k=1)[0]) == 1
    assert "unknown" in client.classify([Input(audio=wav(0))], names)[0].message


def test_collections_from_creation_to_drop(client) -> None:
    client.create_collection("pictures", "image")
    with refused("ALREADY_EXISTS", "there already"):
        client.create_collection("pictures", "image")
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
    with pytest.raises(ValueError, match="max pending 10 must be at least 256"):
        ServerConfig(max_pending=10)
    with pytest.raises(ValueError, match="port 70000"):
        dataclasses.replace(ServerConfig(), port=70_000)


def test_a_taken_port_and_a_missing_bundle_are_told(address, bundle_path) -> None:
    port = int(address.rpartition(":")[2])
    with pytest.raises(ValueError, match="can't be bound; is another server there"):
        asyncio.run(serve(bundle_path, ServerConfig(port=port), stop=asyncio.Event()))
    with pytest.raises(FileNotFoundError, match="holds no bundle"):
        asyncio.run(serve(pathlib.Path("nowhere"), ServerConfig(port=0), stop=asyncio.Event()))
