"""Drops: what a screening took out of a dataset, and why."""

import collections
import dataclasses
from collections.abc import Mapping
from typing import Any

from imp_data.near_duplicates.kinds import Kind


@dataclasses.dataclass(frozen=True, kw_only=True)
class Drop:
    """Example `id` of `split` is like `like`, of evaluation set `where` or, if empty, of its own.

    `kind` is what it was compared by, `similarity` 0 to 1.
    """

    id: str
    split: str
    like: str
    where: str
    kind: Kind
    similarity: float

    @property
    def reason(self) -> str:
        what = "has the same bytes as" if self.kind == "bytes" else f"is by its {self.kind} like"
        return f"{what} an example {f'of {self.where}' if self.where else 'that is kept'}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Screening:
    """How a set was screened and what was dropped; `digest` of all that decides it.

    `num_held_out` counts the pairs that were found and left, as they lie in held-out splits.
    """

    digest: str
    against: tuple[str, ...]
    within: bool
    kinds: tuple[Kind, ...]
    drops: tuple[Drop, ...]
    num_held_out: int

    @property
    def reasons(self) -> dict[str, int]:
        """How many were dropped for each reason, the most frequent first."""
        return dict(collections.Counter(drop.reason for drop in self.drops).most_common())


def to_json(screening: Screening) -> dict[str, object]:
    """A JSON object that `from_json` turns back into the same screening."""
    return {**dataclasses.asdict(screening), "reasons": screening.reasons}


def from_json(value: Mapping[str, Any]) -> Screening:
    """Reads what `to_json` gave; other keys are passed over."""
    return Screening(
        digest=value["digest"],
        against=tuple(value["against"]),
        within=value["within"],
        kinds=tuple(value["kinds"]),
        drops=tuple(Drop(**drop) for drop in value["drops"]),
        num_held_out=value["num_held_out"],
    )
