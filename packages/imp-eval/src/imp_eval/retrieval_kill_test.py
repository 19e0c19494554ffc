"""A real server killed with SIGKILL while clients write: what it acknowledged is there afterwards.

`./imp benchmark store-kills` kills its store far more often.
"""

import contextlib
import random
import threading
import time

import numpy as np

from imp_eval.client import Client, ServiceError
from imp_eval.conftest import served


def vector(key: str, version: int) -> np.ndarray:
    return np.random.default_rng([int(key), version]).normal(size=32).astype(np.float32)


class Writer(threading.Thread):
    """Upserts 20 items a call until it is cut off; `acknowledged`, `under_way`: id -> version."""

    def __init__(self, client: Client, version: int) -> None:
        super().__init__()
        self._client = client
        self._version = version
        self.acknowledged: dict[str, int] = {}
        self.under_way: dict[str, int] = {}

    def run(self) -> None:
        rng = random.Random(self._version)
        with contextlib.suppress(ServiceError):
            while True:
                self._version += 1
                self.under_way = {str(rng.randrange(200)): self._version for _ in range(20)}
                items = {key: vector(key, self._version) for key in self.under_way}
                metadata = {key: {"version": self._version} for key in self.under_way}
                assert self._client.upsert("kept", items, metadata) == {}
                self.acknowledged.update(self.under_way)


def test_no_acknowledged_item_is_lost_to_a_kill(bundle_path, cache, tmp_path) -> None:
    rng = random.Random(0)
    there: dict[str, int] = {}
    writer: Writer | None = None
    for start in range(3):
        with contextlib.ExitStack() as kill:
            address = kill.enter_context(served(bundle_path, cache, tmp_path))
            with Client(address, attempts=1) as client:
                if writer is None:
                    client.create_collection("kept", "image")
                else:
                    there = _checked(client, there, writer, rng)
                if start == 2:
                    return
                writer = Writer(client, 1000 * start)
                writer.start()
                time.sleep(rng.uniform(0.3, 0.8))
                kill.close()
                writer.join(timeout=60)


def _checked(
    client: Client, before: dict[str, int], writer: Writer, rng: random.Random
) -> dict[str, int]:
    """What is there: what was before, what was acknowledged, and what was under way or not."""
    wanted = before | writer.acknowledged
    fields = dict(client.items("kept"))
    there = {key: int(metadata["version"]) for key, metadata in fields.items()}
    assert writer.acknowledged
    assert there in (wanted, wanted | writer.under_way)
    for key in rng.sample(sorted(there), 10):
        [best] = client.search("kept", vector(key, there[key]), 1)
        assert (best.id, best.metadata) == (key, {"version": there[key]})
        assert best.score > 0.9999
    return there
