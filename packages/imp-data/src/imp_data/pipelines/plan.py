"""Plan: which inputs go into which shard, in which order; frozen before any work starts.

The order is by a keyed hash of the ids: a global shuffle that moves no pixels. What is built is a
pure function of the plan, whoever builds it and however often they are stopped. A plan may extend
an earlier one: its shards stay as they are, and what is new comes after them.
"""

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from functools import cached_property
from typing import Any

from imp_data import views as views_lib
from imp_data.media.limits import DEFAULT_LIMITS, Limits
from imp_data.near_duplicates import drops
from imp_data.near_duplicates.drops import Screening
from imp_data.pipelines.frozen import Frozen
from imp_data.sources import SPLITS, Item, files
from imp_data.sources.payload import Span
from imp_data.views import View

# A change of what the builder writes for one plan: raise it.
BUILDER = 4
_TARGET_SHARDS = 16
_MIN_SHARD_EXAMPLES = 16
_MAX_SHARD_BYTES = 256 << 20


@dataclasses.dataclass(frozen=True, kw_only=True)
class ShardPlan:
    """Items of one split, in order; `shard` counts within the split."""

    split: str
    shard: int
    items: tuple[Item, ...]

    @property
    def name(self) -> str:
        return f"{self.split}-{self.shard:05d}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """`labels` in index order; `sizes` are each file's bytes, `modified` its clock, by id.

    `compared` are the options of a screening, `screening` tells what it dropped from the source
    beforehand; None where nothing was compared.
    """

    name: str
    source: str
    seed: int
    views: tuple[View, ...]
    formats: tuple[str, ...]
    limits: Limits
    labels: tuple[str, ...]
    shard_sizes: dict[str, int]
    shards: tuple[ShardPlan, ...]
    sizes: dict[str, int]
    modified: dict[str, str]
    compared: dict[str, Any] | None = None
    screening: Screening | None = None

    @property
    def num_items(self) -> int:
        return sum(len(shard.items) for shard in self.shards)

    def num_shards(self, split: str) -> int:
        return sum(shard.split == split for shard in self.shards)

    @property
    def options(self) -> dict[str, Any]:
        """What the builder was told, as JSON has it; limits are apart, as they may be raised."""
        return {
            "name": self.name,
            "seed": self.seed,
            "views": [views_lib.to_json(view) for view in self.views],
            "formats": self.formats,
            "near duplicates": self.compared,
        }

    @cached_property
    def digests(self) -> dict[str, str]:
        """By shard, the sha256 of all that decides its bytes; not of where the inputs lie.

        Limits decide which inputs are refused, never what an accepted one becomes.
        """
        index = {label: number for number, label in enumerate(self.labels)}
        common = [BUILDER, self.options["views"], self.formats]
        return {
            shard.name: _sha256(
                [
                    *common,
                    [shard.name, self.shard_sizes[shard.split]],
                    [
                        [*self._content(item), sorted(index[label] for label in item.labels)]
                        for item in shard.items
                    ],
                ]
            )
            for shard in self.shards
        }

    @cached_property
    def digest(self) -> str:
        """sha256 of all that decides the dataset."""
        screening = None if self.screening is None else drops.to_json(self.screening)
        limits = dataclasses.asdict(self.limits)
        return _sha256([self.options, limits, self.labels, self.digests, screening])

    def fingerprint(self, item: Item) -> str:
        """Tells whether an input is as it was: its words, its place in its file, size and clock."""
        content = [*self._content(item), item.labels, item.split, self.modified[item.id]]
        return _sha256(content)[:16]

    def _content(self, item: Item) -> list[Any]:
        return [item.id, self.sizes[item.id], item.texts, item.start, item.end, item.problem]

    def freeze(self) -> Frozen:
        """What is kept of the plan beside the dataset."""
        dropped = () if self.screening is None else self.screening.drops
        return Frozen(
            digest=self.digest,
            source=self.source,
            options=json.loads(json.dumps(self.options)),
            limits=self.limits,
            labels=self.labels,
            shard_sizes=self.shard_sizes,
            shards={
                shard.name: {item.id: self.fingerprint(item) for item in shard.items}
                for shard in self.shards
            },
            dropped=tuple(drop.id for drop in dropped),
        )


def make_plan(
    items: Sequence[Item],
    *,
    name: str,
    source: str,
    views: Sequence[View],
    formats: Sequence[str],
    limits: Limits = DEFAULT_LIMITS,
    seed: int = 0,
    shard_examples: int | None = None,
    compared: dict[str, Any] | None = None,
    screening: Screening | None = None,
    earlier: Frozen | None = None,
) -> Plan:
    """The plan of at least one item in at least one view, whose keys differ.

    What `screening` dropped is left out; labels are those of all items, dropped ones too. With an
    `earlier` plan, all of whose inputs are among the items, shards, labels and shard sizes go on
    from there.
    """
    labels = label_names(items)
    shard_sizes: dict[str, int] = {}
    old: dict[str, list[ShardPlan]] = {}
    dropped = set() if screening is None else {drop.id for drop in screening.drops}
    if earlier is not None:
        labels = earlier.labels + tuple(name for name in labels if name not in earlier.labels)
        shard_sizes |= earlier.shard_sizes
        by_id = {item.id: item for item in items}
        for shard in earlier.shards:
            split, number = _shard(shard)
            # A reject that was mended may turn out to be of another split: then it is new there.
            kept = tuple(
                item
                for item in (by_id[identity] for identity in earlier.shards[shard])
                if item.id not in dropped and item.split == split
            )
            old.setdefault(split, []).append(ShardPlan(split=split, shard=number, items=kept))
            dropped |= {item.id for item in kept}
    splits: dict[str, list[Item]] = {split: [] for split in old}
    for item in sorted(items, key=lambda item: _shuffled(seed, item.id)):
        if item.id not in dropped:
            splits.setdefault(item.split, []).append(item)
    shards: list[ShardPlan] = []
    for split in sorted(splits, key=_split_order):
        members = splits[split]
        if split not in shard_sizes:
            shard_sizes[split] = shard_examples or _shard_examples(len(members), views)
        shards += old.get(split, [])
        shards += _cut(split, members, shard_sizes[split], first=len(old.get(split, [])))
    placed = [item for shard in shards for item in shard.items]
    status = {path: files.status(path) for path in {item.path for item in placed}}
    return Plan(
        name=name,
        source=source,
        seed=seed,
        views=tuple(views),
        formats=tuple(formats),
        limits=limits,
        labels=labels,
        shard_sizes=shard_sizes,
        shards=tuple(shards),
        sizes={
            item.id: item.payload.num_bytes
            if isinstance(item.payload, Span)
            else status[item.path][0]
            for item in placed
        },
        modified={item.id: status[item.path][1] for item in placed},
        compared=compared,
        screening=screening,
    )


def _cut(split: str, members: Sequence[Item], size: int, *, first: int) -> list[ShardPlan]:
    return [
        ShardPlan(split=split, shard=first + number, items=tuple(members[start : start + size]))
        for number, start in enumerate(range(0, len(members), size))
    ]


def label_names(items: Sequence[Item]) -> tuple[str, ...]:
    """Sorted names, numbers by value, so that equal sources number their classes alike."""
    names = {label for item in items for label in item.labels}
    if all(name.isdecimal() for name in names):
        return tuple(sorted(names, key=lambda name: (int(name), name)))
    return tuple(sorted(names))


def _sha256(content: object) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _shard(name: str) -> tuple[str, int]:
    """The split and the number that `ShardPlan.name` was made of."""
    split, _, number = name.rpartition("-")
    return split, int(number)


def _shuffled(seed: int, identity: str) -> tuple[bytes, str]:
    data = identity.encode("utf-8", "surrogatepass")
    key = seed.to_bytes(8, "little", signed=True)
    return hashlib.blake2b(data, key=key, digest_size=16).digest(), identity


def _split_order(split: str) -> tuple[int, str]:
    return (SPLITS.index(split) if split in SPLITS else len(SPLITS), split)


def _shard_examples(num_items: int, views: Sequence[View]) -> int:
    """About 16 shards of a small split; at most 256 MiB a view's shard file."""
    example_bytes = max(_num_bytes(view) for view in views)
    even = -(-num_items // _TARGET_SHARDS)
    return max(1, min(max(even, _MIN_SHARD_EXAMPLES), _MAX_SHARD_BYTES // example_bytes))


def _num_bytes(view: View) -> int:
    count = 1 if view.dtype == "uint8" else 4
    for dim in view.shape:
        count *= dim
    return count
