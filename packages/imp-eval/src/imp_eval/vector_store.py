"""What keeps collections: the interface, behind which an engine stands, and what all of them share.

Every engine's adapter passes `vector_store_test.py`. Nothing here blocks: methods are coroutines.
"""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np

from imp_eval.filters import Filter, Value

FORMAT = 1
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class NotFoundError(LookupError):
    """No such collection."""

    def __init__(self, name: str) -> None:
        super().__init__(f"no collection {name[:80]!r}; `imp-eval collections` lists them")


class AlreadyExistsError(ValueError):
    """A collection of that name is there."""

    def __init__(self, name: str) -> None:
        super().__init__(f"collection {name!r} is there already")


@dataclasses.dataclass(frozen=True, kw_only=True)
class CollectionConfig:
    """What a collection holds: items of `modality` in the space shared with `query_modality`."""

    name: str
    modality: str
    query_modality: str
    dim: int
    model_digest: str

    def __post_init__(self) -> None:
        if not is_name(self.name):
            raise ValueError(
                f"collection name {self.name[:80]!r} must be 1 to 64 letters, digits, dots, "
                "underscores and hyphens, a letter or digit first"
            )


def config_to_json(config: CollectionConfig) -> dict[str, Any]:
    """What an engine keeps with a collection."""
    return {"format": FORMAT} | dataclasses.asdict(config)


def config_from_json(name: str, kept: Mapping[str, Any]) -> CollectionConfig:
    """Raises ValueError where `kept` is another program's, or a newer version's."""
    fields = dict(kept)
    if (found := fields.pop("format", 1)) != FORMAT:
        raise ValueError(
            f"collection {name!r} is of format {found}, this version reads {FORMAT}: "
            "upgrade imp-eval"
        )
    try:
        return CollectionConfig(**fields)
    except (TypeError, AttributeError) as error:
        raise ValueError(f"{name!r} is no collection of ours ({error})") from error


@dataclasses.dataclass(frozen=True, kw_only=True)
class Item:
    """`vector` float32 [k], of length 1."""

    id: str
    vector: np.ndarray
    metadata: Mapping[str, Value]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Hit:
    """A found item; `score` is its cosine with the query."""

    id: str
    score: float
    metadata: Mapping[str, Value]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Page:
    """Items of a listing (without their vectors), and where the next page begins; "" at the end."""

    items: Sequence[tuple[str, Mapping[str, Value]]]
    next: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class ApproximateIndex:
    """`recall` at 10, on a sample of the items themselves, against exact search."""

    kind: str
    num_items: int
    recall: float


@runtime_checkable
class Collection(Protocol):
    """One collection as it is now. Every method raises NotFoundError once it has been dropped."""

    config: CollectionConfig

    async def count(self) -> int: ...

    async def index(self) -> ApproximateIndex | None:
        """None where every search is exact."""

    async def upsert(self, items: Sequence[Item]) -> None:
        """Adds or replaces all of them or none; ids occur once. Stored, and seen by every search
        that begins later, when this returns."""

    async def delete(self, ids: Sequence[str]) -> int:
        """How many of them were there."""

    async def delete_where(self, where: Filter) -> int:
        """How many there were."""

    async def search(
        self, vector: np.ndarray, k: int, where: Filter | None = None, *, exact: bool = False
    ) -> list[Hit]:
        """The k highest cosines with `vector` (float32 [k], of length 1), best first, in any order
        where they are equal. `exact` goes without an approximate index."""

    async def scan(self, start: str, limit: int, where: Filter | None = None) -> Page:
        """Items in an order of the store's own; `start` is "" or a page's `next`.

        Raises ValueError for any other `start`."""


@runtime_checkable
class VectorStore(Protocol):
    async def create(self, config: CollectionConfig) -> Collection:
        """Raises AlreadyExistsError."""

    async def open(self, name: str) -> Collection:
        """Raises NotFoundError."""

    async def names(self) -> list[str]:
        """Sorted."""

    async def drop(self, name: str) -> None:
        """Raises NotFoundError."""

    async def close(self) -> None: ...


def is_name(name: str) -> bool:
    """Whether a collection may be called so, and be looked for in a store."""
    return _NAME.fullmatch(name) is not None


def unit(vector: np.ndarray, dim: int) -> np.ndarray:
    """The vector at length 1, float32 [dim]. Raises ValueError where that can't be."""
    if vector.shape != (dim,):
        raise ValueError(f"a vector of {vector.size} numbers; this collection has {dim}")
    if not np.isfinite(vector).all():
        place = int(np.flatnonzero(~np.isfinite(vector))[0])
        raise ValueError(f"number {place} of the vector is {vector[place]}; all must be finite")
    wide = vector.astype(np.float64)  # squares of large float32s overflow
    norm = np.linalg.norm(wide)
    if norm == 0:
        raise ValueError("the vector is all zeros, which has no direction")
    return (wide / norm).astype(np.float32)
