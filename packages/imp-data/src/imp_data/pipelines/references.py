"""References: evaluation sets that training examples are compared with, and their members.

A reference is a source (folder:PATH, csv:FILE, …) or the folder of a built dataset. Its held-out
splits count (validation, val, test); all of it where it has none.
"""

import dataclasses
import pathlib
from collections.abc import Iterator, Sequence

from imp_data import sources
from imp_data.datasets import MANIFEST, Dataset
from imp_data.near_duplicates import kinds as kinds_lib
from imp_data.near_duplicates.kinds import Kind
from imp_data.pipelines.fingerprint import CHUNK, Stored
from imp_data.sources import DEFAULT_SPLIT, SPLITS, Item

HELD_OUT = tuple(split for split in SPLITS if split != DEFAULT_SPLIT)
Members = tuple[Item, ...] | Stored


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reference:
    """`name` is what the user wrote; `ids` name its items in order, `labels` are each one's;
    `chunks` hold them."""

    name: str
    ids: tuple[str, ...]
    labels: tuple[tuple[str, ...], ...]
    chunks: tuple[Members, ...]
    digest: str
    """A built dataset's plan; empty for files, which are known by size and clock."""

    @property
    def items(self) -> tuple[Item, ...]:
        """Its files; none of a built dataset."""
        return tuple(i for c in self.chunks if not isinstance(c, Stored) for i in c)


def read(spec: str, *, kinds: Sequence[Kind]) -> Reference:
    """Raises FileNotFoundError or ValueError, one line."""
    if (pathlib.Path(spec) / MANIFEST).is_file():
        return _of_dataset(spec, kinds)
    if ":" not in spec:
        raise ValueError(
            f"against {spec!r}: no dataset lies there; write a built dataset's folder, "
            "a source such as folder:PATH"
        )
    modalities = [kind for kind in kinds if kind in sources.SUFFIXES]
    items = sources.read(spec, modalities=modalities or tuple(sources.SUFFIXES)[:1])
    splits = _held_out(sorted({item.split for item in items}))
    items = [item for item in items if item.split in splits]
    return Reference(
        name=spec,
        ids=tuple(item.id for item in items),
        labels=tuple(item.labels for item in items),
        chunks=tuple(chunked(items)),
        digest="",
    )


def chunked(items: Sequence[Item]) -> Iterator[tuple[Item, ...]]:
    for start in range(0, len(items), CHUNK):
        yield tuple(items[start : start + CHUNK])


def count(members: Members) -> int:
    """How many items a chunk holds."""
    return members.stop - members.start if isinstance(members, Stored) else len(members)


def _of_dataset(spec: str, kinds: Sequence[Kind]) -> Reference:
    dataset = Dataset.load(spec)
    for kind in kinds:
        if kind in sources.SUFFIXES:
            try:
                kinds_lib.check_comparable(kinds_lib.finest(dataset.views, kind))
            except ValueError as error:
                raise ValueError(f"against {spec}: {error}") from error
    ids: list[str] = []
    labels: list[tuple[str, ...]] = []
    chunks: list[Members] = []
    for split in _held_out(sorted(dataset.num_examples)):
        for example in dataset.examples(split):
            ids.append(example.id)
            labels.append(tuple(dataset.label_names[i] for i in example.labels))
        count = dataset.num_examples[split]
        for start in range(0, count, CHUNK):
            stop = min(start + CHUNK, count)
            path = str(pathlib.Path(spec).resolve())
            chunks.append(Stored(dataset=path, split=split, start=start, stop=stop))
    return Reference(
        name=spec,
        ids=tuple(ids),
        labels=tuple(labels),
        chunks=tuple(chunks),
        digest=dataset.plan_digest,
    )


def _held_out(splits: Sequence[str]) -> Sequence[str]:
    return [split for split in splits if split in HELD_OUT] or splits
