"""Drops: what a screening took out of a dataset, and why."""

import collections
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from imp_data.near_duplicates.kinds import Kind


@dataclasses.dataclass(frozen=True, kw_only=True)
class Drop:
    """Example `id` of `split` is like `like`, of evaluation set `where` or, if empty, of its own.

    `kind` is what it was compared by, `similarity` 0 to 1. `labels` are its own, `like_labels` the
    other's.
    """

    id: str
    split: str
    like: str
    where: str
    kind: Kind
    similarity: float
    labels: tuple[str, ...] = ()
    like_labels: tuple[str, ...] = ()
    label_conflict: bool = False

    @property
    def reason(self) -> str:
        what = "has the same bytes as" if self.kind == "bytes" else f"is by its {self.kind} like"
        return f"{what} an example {f'of {self.where}' if self.where else 'that is kept'}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Screening:
    """How a set was screened and what was dropped; `digest` of all that decides it.

    `similarity` is what two examples need at least to be alike, by kind. `num_held_out` counts the
    examples that would have been dropped, and were left, as they lie in held-out splits.
    """

    digest: str
    against: tuple[str, ...]
    within: bool
    kinds: tuple[Kind, ...]
    drops: tuple[Drop, ...]
    num_held_out: int
    similarity: dict[str, float] = dataclasses.field(default_factory=dict)

    @property
    def num_label_conflicts(self) -> int:
        return sum(drop.label_conflict for drop in self.drops)

    @property
    def reasons(self) -> dict[str, int]:
        """How many were dropped for each reason, the most frequent first."""
        return dict(collections.Counter(drop.reason for drop in self.drops).most_common())


def to_json(screening: Screening) -> dict[str, object]:
    """A JSON object that `from_json` turns back into the same screening."""
    return {
        **dataclasses.asdict(screening),
        "reasons": screening.reasons,
        "label_conflicts": screening.num_label_conflicts,
    }


def from_json(value: Mapping[str, Any]) -> Screening:
    """Reads what `to_json` gave; other keys are passed over."""
    return Screening(
        digest=value["digest"],
        against=tuple(value["against"]),
        within=value["within"],
        kinds=tuple(value["kinds"]),
        drops=tuple(_drop(**drop) for drop in value["drops"]),
        num_held_out=value["num_held_out"],
        similarity=value.get("similarity", {}),
    )


def _drop(*, labels: Sequence[str] = (), like_labels: Sequence[str] = (), **fields: Any) -> Drop:
    return Drop(labels=tuple(labels), like_labels=tuple(like_labels), **fields)
