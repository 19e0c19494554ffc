"""What an evaluation found: figures with their intervals, and how each class fared."""

import dataclasses
from typing import Any

import numpy as np

from imp_eval.evaluation.intervals import Interval


@dataclasses.dataclass(frozen=True, kw_only=True)
class Score:
    """One figure. `modality` is what was classified, or the query's and the answers' as in
    "text→image"; `low` and `high` are the bootstrap's interval; `chance` is of random answers, None
    where that is not known; `n` counts examples or queries."""

    benchmark: str
    task: str
    modality: str
    metric: str
    value: float
    low: float
    high: float
    chance: float | None
    n: int

    @classmethod
    def of(cls, value: float, interval: Interval, **fields: Any) -> "Score":
        """The other fields by their names."""
        low, high = interval
        return cls(value=float(value), low=low, high=high, **fields)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClassScore:
    """`value` is the class's accuracy, or average precision where examples have several labels;
    `confused_with` is the wrong class answered most, if any."""

    name: str
    n: int
    value: float
    confused_with: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class TaskResult:
    """A task's figures; for classification also `classes`, and `confusion` float [y, y], truth by
    answer, None where examples have several labels."""

    benchmark: str
    task: str
    modality: str
    scores: tuple[Score, ...]
    classes: tuple[ClassScore, ...] = ()
    class_names: tuple[str, ...] = ()
    confusion: np.ndarray | None = None
    details: dict[str, object] = dataclasses.field(default_factory=dict)

    @property
    def key(self) -> str:
        """A name for its files."""
        return f"{self.benchmark}-{self.task}-{self.modality}"
