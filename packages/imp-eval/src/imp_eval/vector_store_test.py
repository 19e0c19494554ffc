"""The contract that every engine's adapter keeps."""

import asyncio
import operator
import re
from collections.abc import Awaitable, Callable, Mapping

import lancedb
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imp_eval import filters, vector_store
from imp_eval.filters import AllOf, AnyOf, Filter, Not, OneOf, Range, Value
from imp_eval.open_store import open_store
from imp_eval.vector_store import (
    AlreadyExistsError,
    Collection,
    CollectionConfig,
    Item,
    NotFoundError,
    VectorStore,
    unit,
)

pytestmark = pytest.mark.filterwarnings("ignore:Local mode performs exact")
DIM = 4


def config(name: str = "things") -> CollectionConfig:
    return CollectionConfig(
        name=name, modality="image", query_modality="text", dim=DIM, model_digest="d"
    )


def vector(*numbers: float) -> np.ndarray:
    return unit(np.array([*numbers, *[0] * (DIM - len(numbers))], np.float32), DIM)


def item(key: str, at: np.ndarray, **metadata: Value) -> Item:
    return Item(id=key, vector=at, metadata=metadata)


def place_of(kind: str, tmp_path) -> str | None:
    if kind == "qdrant":
        pytest.importorskip("qdrant_client", reason="the extra imp-eval[qdrant] is not installed")
        return "qdrant+:memory:"
    return None if kind == "memory" else str(tmp_path / "collections")


@pytest.fixture(params=["memory", "folder", "qdrant"])
def within(request, tmp_path) -> Callable[[Callable[[VectorStore], Awaitable[None]]], None]:
    """Runs a coroutine function of a store."""
    place = place_of(request.param, tmp_path)

    def run(test: Callable[[VectorStore], Awaitable[None]]) -> None:
        async def main() -> None:
            store = await open_store(place)
            try:
                await test(store)
            finally:
                await store.close()

        asyncio.run(main())

    return run


async def listed(collection: Collection, limit: int = 3, where: Filter | None = None) -> set[str]:
    found: list[str] = []
    start = ""
    while True:
        page = await collection.scan(start, limit, where)
        found += [key for key, _ in page.items]
        assert len(page.items) <= limit
        start = page.next
        if not start:
            assert len(found) == len(set(found))
            return set(found)


def test_made_listed_dropped_and_made_again(within) -> None:
    async def test(store: VectorStore) -> None:
        assert await store.names() == []
        for name in ("things", "a.b-c_D9"):
            made = await store.create(config(name))
            assert made.config == config(name)
            assert (await store.open(name)).config == config(name)
        assert await store.names() == ["a.b-c_D9", "things"]
        with pytest.raises(AlreadyExistsError, match="'things' is there already"):
            await store.create(config())
        things = await store.open("things")
        await things.upsert([item("a", vector(1))])
        await store.drop("things")
        assert await store.names() == ["a.b-c_D9"]
        for late in (things.count, lambda: things.upsert([item("b", vector(1))])):
            with pytest.raises(NotFoundError, match="no collection 'things'"):
                await late()
        for absent in ("things", "../things", "", ".", "a" * 65, "nul\0"):
            with pytest.raises(NotFoundError, match="no collection"):
                await store.open(absent)
            with pytest.raises(NotFoundError, match="no collection"):
                await store.drop(absent)
        assert await (await store.create(config())).count() == 0

    within(test)


def test_a_collection_of_a_newer_format_is_refused_in_one_line(within, monkeypatch) -> None:
    async def test(store: VectorStore) -> None:
        monkeypatch.setattr(vector_store, "FORMAT", 2)
        await store.create(config())
        monkeypatch.undo()
        with pytest.raises(
            ValueError,
            match=r"^collection 'things' is of format 2, this version reads 1: upgrade imp-eval$",
        ):
            await store.open("things")

    within(test)


def test_a_table_of_anothers_and_a_store_that_is_gone(tmp_path) -> None:
    async def test() -> None:
        other = await lancedb.connect_async(tmp_path)
        await other.create_table("theirs", [{"number": 1}])
        store = await open_store(str(tmp_path))
        with pytest.raises(ValueError, match="'theirs' is no collection of ours"):
            await store.open("theirs")
        await store.create(config())
        for path in (tmp_path / "things.lance" / "_versions").iterdir():
            path.write_bytes(b"cut")
        with pytest.raises(OSError):
            await store.open("things")
        await store.close()

    asyncio.run(test())


def test_changes_are_seen_at_once_and_by_every_opener(within) -> None:
    async def test(store: VectorStore) -> None:
        things, same = await store.create(config()), await store.open("things")
        await things.upsert([item("a", vector(1), x="ü"), item("b", vector(1, 1))])
        await same.upsert([item("b", vector(0, 1), new=True), item("c", vector(1, 2), n=2)])
        hits = await things.search(vector(1), 5)
        assert [(hit.id, hit.metadata) for hit in hits] == [
            ("a", {"x": "ü"}),
            ("c", {"n": 2.0}),
            ("b", {"new": True}),
        ]
        np.testing.assert_allclose([hit.score for hit in hits], [1, 0.2**0.5, 0], atol=1e-6)
        assert [hit.id for hit in await things.search(vector(1), 1)] == ["a"]
        assert await same.delete(["a", "none", "a"]) == 1
        assert await things.count() == await same.count() == 2
        assert await things.delete_where(OneOf(field="new", values=(True,))) == 1
        assert [hit.id for hit in await same.search(vector(1), 5, exact=True)] == ["c"]
        assert await things.index() is None

    within(test)


def test_odd_ids_and_metadata_come_back_as_they_were(within) -> None:
    odd = ["'", '"', "\\", "%_", "a\nb", "'; DROP TABLE things; --", "ü" * 300, "\u2028", "$.a[0]"]
    numbers = [0.0, -1.5, 1e300, 2.0**53, 5e-324]

    async def test(store: VectorStore) -> None:
        things = await store.create(config())
        stored = [item(key, vector(1, i), **{key: key}) for i, key in enumerate(odd)]
        stored += [item(f"n{i}", vector(1, i), n=value) for i, value in enumerate(numbers)]
        await things.upsert(stored)
        assert {hit.id: hit.metadata for hit in await things.search(vector(1), 99)} == {
            one.id: dict(one.metadata) for one in stored
        }
        for key in odd:
            where = OneOf(field=key, values=(key,))
            assert [hit.id for hit in await things.search(vector(1), 99, where)] == [key]
            assert await listed(things, where=where) == {key}
        assert await listed(things, limit=4) == {one.id for one in stored}
        assert await things.delete(odd) == len(odd)

    within(test)


def test_writers_at_the_same_time_make_no_doubles(within) -> None:
    async def test(store: VectorStore) -> None:
        await store.create(config())
        openers = [await store.open("things") for _ in range(8)]
        await asyncio.gather(
            *(
                one.upsert([item(f"{5 * i + j}", vector(1, j)) for j in range(10)])
                for i, one in enumerate(openers)
            )
        )
        assert await openers[0].count() == 45
        assert await listed(openers[0], limit=7) == {str(i) for i in range(45)}

    within(test)


def matches(where: Filter, fields: Mapping[str, Value]) -> bool:
    """What a filter means, in Python."""
    match where:
        case AllOf(parts=parts):
            return all(matches(part, fields) for part in parts)
        case AnyOf(parts=parts):
            return any(matches(part, fields) for part in parts)
        case Not(part=part):
            return not matches(part, fields)
    value = fields.get(where.field)
    wanted = where.values[0] if isinstance(where, OneOf) else next(iter(where.bounds.values()))
    if value is None or filters.kind_of(value) != filters.kind_of(wanted):
        return False
    if isinstance(where, OneOf):
        return value in where.values
    signs = {">=": operator.ge, ">": operator.gt, "<=": operator.le, "<": operator.lt}
    return all(signs[sign](value, bound) for sign, bound in where.bounds.items())


FIELDS = st.sampled_from(["x", "y", "a.b", "0", "it's"])
TEXTS = st.sampled_from(["", "a", "B", "it's", "ü", "\\n", "10", "true"])
NUMBERS = st.sampled_from([-1.0, 0.0, 0.5, 10.0, 1e18])
METADATA = st.dictionaries(FIELDS, TEXTS | NUMBERS | st.booleans(), max_size=4)
BOUNDS = ("at_least", "above", "at_most", "below")


def ranges(values: st.SearchStrategy[str] | st.SearchStrategy[float]):
    chosen = st.dictionaries(st.sampled_from(BOUNDS), values, min_size=1, max_size=3)
    return st.builds(lambda field, bounds: Range(field=field, **bounds), FIELDS, chosen)


def filters_of(orders: st.SearchStrategy[Range]) -> st.SearchStrategy[Filter]:
    one_of = st.one_of(
        st.builds(OneOf, field=FIELDS, values=st.lists(values, min_size=1, max_size=3).map(tuple))
        for values in (TEXTS, NUMBERS, st.booleans())
    )
    return st.recursive(
        one_of | orders,
        lambda parts: st.one_of(
            st.builds(Not, part=parts),
            st.builds(AllOf, parts=st.lists(parts, min_size=1, max_size=3).map(tuple)),
            st.builds(AnyOf, parts=st.lists(parts, min_size=1, max_size=3).map(tuple)),
        ),
        max_leaves=6,
    )


@pytest.mark.parametrize("kind", ["memory", "qdrant"])
def test_filters_mean_what_they_say(kind, tmp_path) -> None:
    place = place_of(kind, tmp_path)
    # Qdrant has no order of texts.
    orders = ranges(NUMBERS) if kind == "qdrant" else ranges(NUMBERS) | ranges(TEXTS)
    with asyncio.Runner() as runner:
        store = runner.run(open_store(place))
        number = iter(range(1_000_000))

        async def check(metadata: list[dict[str, Value]], where: Filter) -> None:
            name = f"n{next(number)}"
            things = await store.create(config(name))
            stored = {f"{i}": fields for i, fields in enumerate(metadata)}
            await things.upsert([item(key, vector(1), **f) for key, f in stored.items()])
            want = {key for key, fields in stored.items() if matches(where, fields)}
            assert {hit.id for hit in await things.search(vector(1), 99, where)} == want
            assert await listed(things, where=where) == want
            assert await things.delete_where(where) == len(want)
            assert await listed(things) == stored.keys() - want
            await store.drop(name)

        @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
        @given(metadata=st.lists(METADATA, min_size=1, max_size=6), where=filters_of(orders))
        def run(metadata, where) -> None:
            runner.run(check(metadata, where))

        run()
        runner.run(store.close())


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ([1.0, float("nan"), 0.0, 0.0], "number 1 of the vector is nan"),
        ([1.0, 0.0, float("inf"), 0.0], "number 2 of the vector is inf"),
        ([0.0, 0.0, 0.0, 0.0], "all zeros"),
        ([1.0, 0.0], "2 numbers; this collection has 4"),
        ([], "0 numbers"),
    ],
)
def test_vectors_without_a_direction_are_refused(numbers, message) -> None:
    with pytest.raises(ValueError, match=message):
        unit(np.array(numbers, np.float32), DIM)


def test_unit_survives_extreme_lengths() -> None:
    for scale in (1e-37, 8e37):
        got = unit(np.array([3, 4, 0, 0], np.float32) * np.float32(scale), DIM)
        np.testing.assert_allclose(got, [0.6, 0.8, 0, 0], rtol=1e-5)


@pytest.mark.parametrize("name", ["", "../up", ".hidden", "a/b", "a" * 65, "nul\0", "ü", "a\n"])
def test_names_that_are_no_plain_file_names_are_refused(name) -> None:
    with pytest.raises(ValueError, match="collection name"):
        config(name)


def test_what_an_engine_cannot_do_or_reach_is_told(tmp_path) -> None:
    pytest.importorskip("qdrant_client", reason="the extra imp-eval[qdrant] is not installed")

    async def test() -> None:
        store = await open_store("qdrant+:memory:")
        things = await store.create(config())
        with pytest.raises(ValueError, match="orders texts, which Qdrant can't"):
            await things.search(vector(1), 1, Range(field="x", above="a"))
        for place in ("qdrant+http://127.0.0.1:1", str(tmp_path / "file" / "below"), "nosuch://x"):
            (tmp_path / "file").write_bytes(b"")
            with pytest.raises(ValueError, match=f"can't be kept in {re.escape(place)}: "):
                await open_store(place)

    asyncio.run(test())
