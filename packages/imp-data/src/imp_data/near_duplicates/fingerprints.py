"""Fingerprints: what a chunk of items is compared by, as a few arrays that lie in one file.

An item has rows: a picture one or two, a clip one a frame, a recording one a window, a caption one
each. A row is looked for by its `query` hashes and found by its `index` hashes; `detail` is what
the exact check looks at.
"""

import dataclasses
import io
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from imp_data.stores.atomic import write_file


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Fingerprints:
    """Of n items with m rows in all.

    `owner` int32 [m], the row's item, ascending; `query` uint64 [m, q]; `index` uint64 [m, r];
    `place` int64 [m], where the row's detail starts; `detail` [k, d], of the modality's own dtype.
    """

    num_items: int
    owner: np.ndarray
    query: np.ndarray
    index: np.ndarray
    place: np.ndarray
    detail: np.ndarray

    @classmethod
    def of_item(
        cls,
        query: np.ndarray,
        index: np.ndarray,
        detail: np.ndarray,
        place: np.ndarray | None = None,
    ) -> "Fingerprints":
        """One item's; without `place` row i's detail is detail[i]."""
        count = len(query)
        return cls(
            num_items=1,
            owner=np.zeros(count, np.int32),
            query=query,
            index=index,
            place=np.arange(count) if place is None else place,
            detail=detail,
        )

    def without_rows(self) -> "Fingerprints":
        """As many items, and nothing to compare them by."""
        names = ("owner", "query", "index", "place", "detail")
        return dataclasses.replace(self, **{name: getattr(self, name)[:0] for name in names})

    def row_counts(self) -> np.ndarray:
        """int64 [n]: each item's rows."""
        return np.bincount(self.owner, minlength=self.num_items)


def join(parts: Sequence[Fingerprints]) -> Fingerprints:
    """Several chunks as one, in order; at least one."""
    item = 0
    details = 0
    owners, places = [], []
    for part in parts:
        owners.append(part.owner + np.int32(item))
        places.append(part.place + details)
        item += part.num_items
        details += len(part.detail)
    return Fingerprints(
        num_items=item,
        owner=np.concatenate(owners),
        query=np.concatenate([part.query for part in parts]),
        index=np.concatenate([part.index for part in parts]),
        place=np.concatenate(places),
        detail=np.concatenate([part.detail for part in parts]),
    )


def save(path: pathlib.Path, chunk: Mapping[Any, Fingerprints]) -> None:
    """One file of a chunk's fingerprints by kind; whole or not at all."""
    arrays: dict[str, np.ndarray] = {}
    for kind, prints in chunk.items():
        arrays[f"{kind}/num_items"] = np.array(prints.num_items)
        for name in ("owner", "query", "index", "place", "detail"):
            arrays[f"{kind}/{name}"] = getattr(prints, name)
    data = io.BytesIO()
    np.savez(data, allow_pickle=False, **arrays)
    write_file(path, data.getvalue())


def load(path: pathlib.Path, kind: str) -> Fingerprints:
    """What `save` wrote of one kind. A damaged file is an error of its own checksums."""
    with np.load(path, allow_pickle=False) as file:
        return Fingerprints(
            num_items=int(file[f"{kind}/num_items"]),
            owner=file[f"{kind}/owner"],
            query=file[f"{kind}/query"],
            index=file[f"{kind}/index"],
            place=file[f"{kind}/place"],
            detail=file[f"{kind}/detail"],
        )
