"""Beyond a size a collection gets an index: what it finds, what it hides, and what it says."""

import asyncio
import pathlib
import shutil

import numpy as np

from imp_eval import lance_store, pages
from imp_eval.filters import OneOf
from imp_eval.lance_upkeep import UpkeepConfig
from imp_eval.pages import Pager
from imp_eval.vector_store import Collection, CollectionConfig, Item

DIM = 32
CONFIG = CollectionConfig(
    name="large", modality="image", query_modality="text", dim=DIM, model_digest="d"
)
SMALL = UpkeepConfig(exact_up_to=2_000, max_changes=4, max_rows=500)


def items_of(count: int, seed: int) -> list[Item]:
    vectors = np.random.default_rng(seed).normal(size=(count, DIM)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return [
        Item(id=f"{seed}-{i:04}", vector=vector, metadata={"hundredth": i % 100})
        for i, vector in enumerate(vectors)
    ]


async def exact_and_found(collection: Collection, query: np.ndarray) -> tuple[list, list]:
    return (
        await collection.search(query, 10, exact=True),
        await collection.search(query, 10),
    )


def test_a_large_collection_is_indexed_and_says_how_well(tmp_path: pathlib.Path) -> None:
    async def test() -> None:
        store = await lance_store.connect(str(tmp_path), SMALL)
        await (await store.create(CONFIG)).upsert(items_of(1_500, 1))
        await store.upkeep.idle()
        assert await (await store.open("large")).index() is None
        await (await store.open("large")).upsert(items_of(2_500, 2))
        await store.upkeep.idle()
        large = await store.open("large")
        index = await large.index()
        assert index is not None
        assert index.num_items == 4_000
        # Gaussian noise, which has no clusters, is the hardest; more partitions make up for it.
        assert index.recall >= 0.98
        shares = []
        for query in items_of(40, 3):
            exact, found = await exact_and_found(large, query.vector)
            shares.append(len({h.id for h in exact} & {h.id for h in found}) / 10)
            for hit in found:  # with scores from the whole vectors
                assert all(abs(hit.score - e.score) < 1e-5 for e in exact if e.id == hit.id)
        assert np.mean(shares) >= 0.9

        # A filter that few items pass is no obstacle, nor is it that an item is not yet indexed.
        where = OneOf(field="hundredth", values=(7.0,))
        assert len(await large.search(query.vector, 40, where)) == 40
        await large.upsert(items_of(1, 4))
        [new] = items_of(1, 4)
        assert (await large.search(new.vector, 1))[0].id == "4-0000"
        assert await large.delete(["4-0000"]) == 1
        assert (await large.search(new.vector, 1))[0].id != "4-0000"

        pager, token, seen = Pager.of("x"), "", []
        for _ in range(5):
            hits, token = await pages.search_page(
                large, new.vector, 20, where=None, exact=False, pager=pager, token=token
            )
            seen += hits
        assert len({hit.id for hit in seen}) == 100
        assert [hit.score for hit in seen] == sorted((hit.score for hit in seen), reverse=True)

        # Upkeep puts small files together, and a restart finds the index again.
        for seed in range(5, 12):
            await large.upsert(items_of(3, seed))
        await store.upkeep.idle()
        await store.close()
        store = await lance_store.connect(str(tmp_path), SMALL)
        large = await store.open("large")
        assert await large.index() is not None
        assert await large.count() == 4_021
        assert (await large.table.stats())["fragment_stats"]["num_fragments"] <= 5
        await store.close()

    asyncio.run(test())


def test_a_collection_whose_index_lost_its_files_can_be_dropped(tmp_path: pathlib.Path) -> None:
    """What a kill in the midst of upkeep may leave."""

    async def test() -> None:
        store = await lance_store.connect(str(tmp_path), SMALL)
        await (await store.create(CONFIG)).upsert(items_of(2_500, 1))
        await store.upkeep.idle()
        assert await (await store.open("large")).index() is not None
        for folder in (tmp_path / "large.lance" / "_indices").iterdir():
            shutil.rmtree(folder)
        await store.drop("large")
        assert await (await store.create(CONFIG)).count() == 0
        await store.close()

    asyncio.run(test())
