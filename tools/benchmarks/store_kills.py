"""Writers of a collection killed with SIGKILL at random moments: is what they were told there?

A writer says what it is about to do, does it, and says that it is done. After each kill the
collection must hold what was done, and the change that was under way wholly or not at all.
"""

import asyncio
import dataclasses
import itertools
import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
from tqdm import tqdm

from imp_eval.filters import Range
from imp_eval.lance_upkeep import UpkeepConfig
from imp_eval.open_store import open_store
from imp_eval.vector_store import Collection, CollectionConfig, Item, NotFoundError, VectorStore

_DIM, _IDS = 32, 400
_CONFIG = CollectionConfig(
    name="killed", modality="image", query_modality="text", dim=_DIM, model_digest="d"
)
# So small that most kills meet a compaction or the building of an index.
_UPKEEP = UpkeepConfig(exact_up_to=100, max_changes=6, max_rows=60)
# Of a collection: id -> version; None where there is no collection.
State: TypeAlias = dict[str, int] | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class StoreKills:
    """Kills writers of one LanceDB place one after the other, and checks it after each."""

    place: str | None = None
    """A folder, or an object store such as s3://bucket/path; a folder of its own without."""
    kills: int = 60
    seconds: float = 0.6
    """A writer lives at most so long after it has begun to write."""
    seed: int = 0
    """Of the moments and of what is written."""

    def run(self) -> None:
        with tempfile.TemporaryDirectory(prefix="imp-store-kills-") as folder:
            self.kill_in(self.place or folder)

    def kill_in(self, folder: str) -> None:
        """Raises ValueError saying what is missing, or there and should not be."""
        rng, state = random.Random(self.seed), None
        acknowledged = under_way = 0
        for number in tqdm(range(self.kills), unit="kill", disable=None):
            lines = _killed_writer(folder, f"{self.seed}-{number}", rng.uniform(0, self.seconds))
            changes = [json.loads(line) for line in lines]
            done = [change for change, after in itertools.pairwise(changes) if after == "done"]
            for change in done:
                state = applied(state, change)
            acknowledged += len(done)
            open_change = changes[-1] if changes and changes[-1] != "done" else None
            under_way += open_change is not None
            state = asyncio.run(_check(folder, state, open_change))
        print(
            f"{self.kills} kills, {under_way} of them during a change; {acknowledged} acknowledged "
            "changes, none lost, and none seen by half"
        )


def applied(state: State, change: Mapping[str, Any]) -> State:
    """What a change makes of a collection."""
    match change["do"]:
        case "create":
            return {}
        case "drop":
            return None
    assert state is not None
    if change["do"] == "upsert":
        return state | dict.fromkeys(change["ids"], change["version"])
    if change["do"] == "delete":
        return {key: version for key, version in state.items() if key not in change["ids"]}
    return {key: version for key, version in state.items() if version >= change["below"]}


def _killed_writer(folder: str, seed: str, seconds: float) -> list[str]:
    """What it said; a last line that was cut off is left out."""
    command = [sys.executable, "-P", "-m", "benchmarks.store_kills", folder, seed]
    environment = {**os.environ, "PYTHONPATH": str(pathlib.Path(__file__).parent.parent)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        time.sleep(seconds)
        process.kill()
        said = first + process.stdout.read()
    if process.returncode != -signal.SIGKILL:
        raise ValueError(f"a writer ended by itself, with status {process.returncode}; see above")
    return said.decode().split("\n")[:-1]


async def _check(folder: str, state: State, under_way: Mapping[str, Any] | None) -> State:
    store = await open_store(folder)
    found = await _state(store)
    allowed = [state] if under_way is None else [state, applied(state, under_way)]
    if found not in allowed:
        raise ValueError(f"{under_way} was under way; acknowledged {state}, there is {found}")
    if found:
        collection = await store.open(_CONFIG.name)
        for key in random.Random(len(found)).sample(sorted(found), min(5, len(found))):
            wanted = _vector(key, found[key])
            for exact in (True, False):
                [best] = await collection.search(wanted, 1, exact=exact)
                if exact and (best.id != key or best.score < 0.9999):
                    raise ValueError(f"{key} has not the vector of its version {found[key]}")
    await store.close()
    return found


async def _state(store: VectorStore) -> State:
    try:
        collection = await store.open(_CONFIG.name)
    except NotFoundError:
        return None
    found: dict[str, int] = {}
    start = ""
    while True:
        page = await collection.scan(start, 1000)
        for key, metadata in page.items:
            if key in found:
                raise ValueError(f"{key} is there twice")
            found[key] = int(metadata["version"])
        start = page.next
        if not start:
            break
    if await collection.count() != len(found):
        raise ValueError(f"{await collection.count()} items are counted, {len(found)} listed")
    return found


def _vector(key: str, version: int) -> np.ndarray:
    vector = np.random.default_rng([int(key), version]).normal(size=_DIM).astype(np.float32)
    return vector / np.linalg.norm(vector)


async def _write(folder: str, seed: str) -> None:
    store, rng = await open_store(folder, _UPKEEP), random.Random(seed)
    version = int(time.time() * 1000)
    while True:
        version += 1
        try:
            collection: Collection | None = await store.open(_CONFIG.name)
        except NotFoundError:
            collection = None
        change = _chosen(rng, version, collection is not None)
        print(json.dumps(change), flush=True)
        await _do(store, collection, change)
        print('"done"', flush=True)


def _chosen(rng: random.Random, version: int, there: bool) -> dict[str, Any]:
    if not there:
        return {"do": "create"}
    ids = [str(n) for n in rng.sample(range(_IDS), rng.choice([1, 10, 100]))]
    kinds = {"upsert": 20, "delete": 4, "delete_where": 1, "drop": 1}
    match rng.choices(list(kinds), list(kinds.values()))[0]:
        case "upsert":
            return {"do": "upsert", "ids": ids, "version": version}
        case "delete":
            return {"do": "delete", "ids": ids}
        case "delete_where":
            return {"do": "delete_where", "below": version - rng.randint(1, 20)}
    return {"do": "drop"}


async def _do(store: VectorStore, collection: Collection | None, change: Mapping[str, Any]) -> None:
    if collection is None:
        await store.create(_CONFIG)
        return
    match change["do"]:
        case "upsert":
            version = change["version"]
            await collection.upsert(
                [
                    Item(id=key, vector=_vector(key, version), metadata={"version": version})
                    for key in change["ids"]
                ]
            )
        case "delete":
            await collection.delete(change["ids"])
        case "delete_where":
            await collection.delete_where(Range(field="version", below=change["below"]))
        case "drop":
            await store.drop(_CONFIG.name)


if __name__ == "__main__":
    asyncio.run(_write(*sys.argv[1:]))
