"""Plan: which inputs go into which shard, in which order; frozen before any work starts.

The order is by a keyed hash of the ids: a global shuffle that moves no pixels. What is built is a
pure function of the plan, whoever builds it and however often they are stopped.
"""

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from functools import cached_property

from imp_data import views as views_lib
from imp_data.media.limits import DEFAULT_LIMITS, Limits
from imp_data.near_duplicates import drops
from imp_data.near_duplicates.drops import Screening
from imp_data.pipelines.sources import SPLITS, Item, files
from imp_data.pipelines.sources.payload import Span
from imp_data.views import View

# A change of what the builder writes for one plan: raise it.
BUILDER = 2
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

    `screening` tells what was dropped from the source beforehand, None where nothing was compared.
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
    modified: str
    screening: Screening | None = None

    @property
    def num_items(self) -> int:
        return sum(len(shard.items) for shard in self.shards)

    def num_shards(self, split: str) -> int:
        return sum(shard.split == split for shard in self.shards)

    @cached_property
    def digest(self) -> str:
        """sha256 of all that decides the built bytes; not of where the inputs lie."""
        content = {
            "builder": BUILDER,
            "name": self.name,
            "seed": self.seed,
            "views": [views_lib.to_json(view) for view in self.views],
            "formats": self.formats,
            "limits": dataclasses.asdict(self.limits),
            "labels": self.labels,
            "shard_sizes": self.shard_sizes,
            "shards": [
                [
                    shard.name,
                    [
                        [i.id, self.sizes[i.id], i.texts, i.labels, i.start, i.end, i.problem]
                        for i in shard.items
                    ],
                ]
                for shard in self.shards
            ],
        }
        if self.screening is not None:
            content["screening"] = drops.to_json(self.screening)
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


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
    screening: Screening | None = None,
) -> Plan:
    """Raises ValueError for two views of one key. `views` has at least one.

    What `screening` dropped is left out; labels are those of all items, dropped ones too.
    """
    if len({view.key for view in views}) != len(views):
        raise ValueError(f"two views share a key: {', '.join(view.key for view in views)}")
    if shard_examples is not None and shard_examples < 1:
        raise ValueError(f"shard_examples {shard_examples} must be at least 1")
    labels = label_names(items)
    if screening is not None:
        dropped = {drop.id for drop in screening.drops}
        items = [item for item in items if item.id not in dropped]
    splits: dict[str, list[Item]] = {}
    for item in sorted(items, key=lambda item: _shuffled(seed, item.id)):
        splits.setdefault(item.split, []).append(item)
    shards: list[ShardPlan] = []
    shard_sizes: dict[str, int] = {}
    for split in sorted(splits, key=_split_order):
        members = splits[split]
        size = shard_examples or _shard_examples(len(members), views)
        shard_sizes[split] = size
        shards += [
            ShardPlan(split=split, shard=number, items=tuple(members[start : start + size]))
            for number, start in enumerate(range(0, len(members), size))
        ]
    status = {path: files.status(path) for path in {item.path for item in items}}
    clock = json.dumps({item.id: status[item.path][1] for item in items}, sort_keys=True)
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
            for item in items
        },
        modified=hashlib.sha256(clock.encode()).hexdigest(),
        screening=screening,
    )


def label_names(items: Sequence[Item]) -> tuple[str, ...]:
    """Sorted names, numbers by value, so that equal sources number their classes alike."""
    names = {label for item in items for label in item.labels}
    if all(name.isdecimal() for name in names):
        return tuple(sorted(names, key=lambda name: (int(name), name)))
    return tuple(sorted(names))


def to_json(plan: Plan) -> bytes:
    """The plan as JSON, for a reader's eyes and to recognise a changed source."""
    content = {
        "digest": plan.digest,
        "modified": plan.modified,
        "name": plan.name,
        "source": plan.source,
        "seed": plan.seed,
        "views": [views_lib.to_json(view) for view in plan.views],
        "formats": plan.formats,
        "limits": dataclasses.asdict(plan.limits),
        "shards": {shard.name: [item.id for item in shard.items] for shard in plan.shards},
    }
    if plan.screening is not None:
        content["screening"] = drops.to_json(plan.screening)
    return json.dumps(content).encode()


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
