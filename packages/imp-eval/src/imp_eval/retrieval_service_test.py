"""Collections through the wire: made, filled, searched, dropped, kept, and hostile requests."""

import dataclasses

import numpy as np
import pytest

from imp_eval import calls, filters, vector_store
from imp_eval.client import Client, Input, text
from imp_eval.conftest import inputs, png, refused, running, save_bundle, wav
from imp_eval.server_config import ServerConfig
from imp_model import bundle
from imp_proto.v1 import retrieval_pb2
from imp_proto.v1.retrieval_pb2 import Filter, Filters, OneOf, Range, Value


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


def test_a_newer_collection_hides_no_other(client, monkeypatch, caplog) -> None:
    client.create_collection("mine", "image")
    with monkeypatch.context() as later:
        later.setattr(vector_store, "FORMAT", 2)
        client.create_collection("newer", "image")
    listed = {own.name for own in client.collections()}
    assert "mine" in listed
    assert "newer" not in listed
    assert "'newer' is of format 2, this version reads 1" in caplog.text
    with refused("INVALID_ARGUMENT", "upgrade imp-eval"):
        client.search("newer", text("x"))


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
    for fields, message in [
        ({"key": "v" * 20_000}, "bytes of metadata are over the limit of 16384"),
        ({"": "v"}, "a field's name has 1 to 256 printable characters, not ''"),
        ({"a\nb": "v"}, "printable characters"),
        ({"n": float("nan")}, "metadata 'n' is nan; numbers must be finite"),
    ]:
        assert message in client.upsert("small", {"ok": vector}, {"ok": fields})["ok"].message
    empty = retrieval_pb2.UpsertRequest(collection="small")
    item = empty.items.add(id="ok", vector=retrieval_pb2.Vector(values=vector))
    item.metadata["x"].SetInParent()
    [result] = client._call(client._methods["Upsert"], empty).results
    assert "metadata 'x' is empty; set one of text, number, flag" in result.error.message
    with refused("INVALID_ARGUMENT", "is nan"):
        client.search("small", nan)
    with refused("INVALID_ARGUMENT", "k 1001 is over the limit"):
        many = retrieval_pb2.SearchRequest(collection="small", k=1001)
        client._call(client._methods["Search"], many)
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


def nested(depth: int) -> Filter:
    chain = Filter(one_of=OneOf(field="x", values=[Value(number=1)]))
    for _ in range(depth - 1):
        chain = Filter(negated=chain)
    return chain


def one_of(*values: Value) -> Filter:
    return Filter(one_of=OneOf(field="x", values=values))


@pytest.mark.parametrize(
    ("where", "message"),
    [
        (Filter(), "the filter, or a part of it, is empty; set one_of, range"),
        (Filter(negated=Filter()), "the filter, or a part of it, is empty"),
        (Filter(all_of=Filters()), "a filter's all_of has no parts"),
        (Filter(any_of=Filters(parts=[Filter()])), "a part of it, is empty"),
        (nested(9), "nests deeper than 8 levels"),
        (Filter(any_of=Filters(parts=[nested(2)] * 200)), "more than 256 parts"),
        (one_of(), "the filter on 'x' has 0 values; give 1 to 1000"),
        (one_of(*[Value(flag=True)] * 1001), "has 1001 values"),
        (one_of(Value()), "a value of the filter on 'x' is empty"),
        (one_of(Value(number=1), Value(text="1")), "mixes number and text"),
        (one_of(Value(number=float("inf"))), "is inf; numbers must be finite"),
        (Filter(one_of=OneOf(values=[Value(text="v")])), "a field's name has 1 to 256"),
        (Filter(range=Range(field="x")), "on 'x' has no bounds"),
        (
            Filter(range=Range(field="x", above=Value(flag=True))),
            "above .* is a flag",
        ),
        (
            Filter(range=Range(field="x", above=Value(text="a"), below=Value(number=1))),
            "mixes number and text",
        ),
    ],
)
def test_filters_that_make_no_sense_are_refused(client, where, message) -> None:
    client.create_collection("filtered", "image", exist_ok=True)
    with refused("INVALID_ARGUMENT", message):
        client.search("filtered", np.ones(32, np.float32), where=where)
    with refused("INVALID_ARGUMENT", message):
        next(client.items("filtered", where))
    with refused("INVALID_ARGUMENT", message):
        client.delete_where("filtered", where)


def test_filters_and_pages_through_the_wire(client) -> None:
    client.create_collection("paged", "image")
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(60, 32)).astype(np.float32)
    vectors[20:40] = vectors[0]  # equal scores, across pages
    fields = {f"i{n:02}": {"n": n, "even": n % 2 == 0, "name": f"it's {n % 3}"} for n in range(60)}
    client.upsert("paged", dict(zip(fields, vectors, strict=True)), fields)
    query = rng.normal(size=32).astype(np.float32)
    scores = (vectors @ query) / np.linalg.norm(vectors, axis=1) / np.linalg.norm(query)
    want = [f"i{n:02}" for n in sorted(range(60), key=lambda n: (-round(scores[n], 5), n))]

    between = Range(field="n", at_least=Value(number=10), below=Value(number=50))
    where = Filter(
        all_of=Filters(
            parts=[
                Filter(range=between),
                Filter(negated=filters.where({"name": "it's 1"})),
            ]
        )
    )
    chosen = [i for i in want if 10 <= int(i[1:]) < 50 and int(i[1:]) % 3 != 1]
    for condition, expected in [(None, want), ({"even": True}, want), (where, chosen)]:
        if condition == {"even": True}:
            expected = [i for i in expected if int(i[1:]) % 2 == 0]
        for k in (1, 7, 60):
            asked = calls.search("paged", query, k, condition, False)
            found = [hit.id for hit in client._pages(asked)]
            assert found == expected
    assert [hit.id for hit in client.search("paged", query, 13, where=where)] == chosen[:13]
    assert dict(client.items("paged", where)) == {i: fields[i] for i in chosen}
    assert client.search("paged", query, 1)[0].metadata == fields[want[0]]
    assert client.delete_where("paged", where) == len(chosen)
    assert {i for i, _ in client.items("paged")} == fields.keys() - set(chosen)
    client.drop_collection("paged")


def test_a_page_token_fits_its_own_request_alone(client) -> None:
    client.create_collection("tokens", "image", exist_ok=True)
    vectors = np.eye(32, dtype=np.float32)
    client.upsert("tokens", {f"{n}": vector for n, vector in enumerate(vectors)})
    methods = client._methods

    def search(token: str, *, at: int = 0) -> retrieval_pb2.SearchResponse:
        request = retrieval_pb2.SearchRequest(collection="tokens", k=5, page_token=token)
        request.vector.values.extend(vectors[at].tolist())
        return client._call(methods["Search"], request)

    def items(token: str) -> retrieval_pb2.ListItemsResponse:
        request = retrieval_pb2.ListItemsRequest(collection="tokens", page_size=5, page_token=token)
        return client._call(methods["ListItems"], request)

    token = search("").next_page_token
    assert len(search(token).hits) == 5
    with refused("INVALID_ARGUMENT", "page_token belongs to another request"):
        search(token, at=1)
    with refused("INVALID_ARGUMENT", "page_token"):
        items(token)
    for bad in ("x", "AAAA", "ü", "W10=", "W251bGxd", "A" * 10_000, items("").next_page_token):
        with refused("INVALID_ARGUMENT", "page_token"):
            search(bad)
    with refused("INVALID_ARGUMENT", "page_size 1001 is over the limit of 1000"):
        client._call(methods["ListItems"], retrieval_pb2.ListItemsRequest(page_size=1001))
    with refused("INVALID_ARGUMENT", "both ids and a filter"):
        request = retrieval_pb2.DeleteRequest(collection="tokens", ids=["1"])
        request.filter.CopyFrom(filters.where({"a": 1}))
        client._call(methods["Delete"], request)
    for n in range(3):
        client.create_collection(f"tokens{n}", "image")
    listing = retrieval_pb2.ListCollectionsRequest(page_size=1)
    by_ones = dataclasses.replace(calls.collections(), request=listing)
    assert [c.name for c in client._pages(by_ones)] == sorted(c.name for c in client.collections())
    for n in range(3):
        client.drop_collection(f"tokens{n}")


def test_collections_outlive_the_server_but_not_the_model(bundle_path, cache, tmp_path) -> None:
    config = ServerConfig(port=0, batch_size=8, data=tmp_path / "data", compilation_cache=cache)
    with running(bundle_path, config) as address, Client(address) as client:
        client.create_collection("kept", "image")
        client.upsert("kept", {"a": Input(image=png(0)), "b": Input(image=png(1))})
        client.delete("kept", ["b"])
    other = save_bundle(tmp_path / "other", seed=1)
    with running(other, config) as address, Client(address) as client:
        vector = np.ones(32, np.float32)
        assert [hit.id for hit in client.search("kept", vector)] == ["a"]
        with refused("FAILED_PRECONDITION", "drop it and index again"):
            client.search("kept", text("a thing"))
        with refused("FAILED_PRECONDITION", "drop it and index again"):
            client.upsert("kept", {"c": Input(image=png(2))})
        [kept] = client.collections()
        assert kept.model_digest == bundle.load(bundle_path).digest
