"""Study: a question of the paper's as arms that differ in one thing, run at equal compute."""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path

from imp_train.config import Experiment
from imp_train.studies.corpora import Corpora
from imp_train.studies.scale import Scale


@dataclasses.dataclass(frozen=True, kw_only=True)
class Study:
    """`arms` by name, the first the one that the others are held against; each is a function of
    the seed. `benchmarks` are SPECs of `imp-eval evaluate`, scored by `tasks` (its words too), of
    which `metrics` are shown."""

    name: str
    source: str
    """Where the paper asks it."""
    claim: str
    """What the paper says, in a line."""
    arms: Mapping[str, Callable[[int], Experiment]]
    benchmarks: tuple[str, ...]
    tasks: tuple[str, ...] = ("zero-shot", "linear-probe")
    metrics: tuple[str, ...] = ("top-1", "R@1")


# What makes a study of one's data: what lies there, and how much to spend.
Maker = Callable[[Corpora, Scale], Study]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Score:
    """One held-out figure of one run."""

    benchmark: str
    task: str
    modality: str
    metric: str
    value: float
    chance: float | None

    @property
    def column(self) -> str:
        return f"{self.benchmark} {self.modality}, {self.task} {self.metric}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    """What one arm came to with one seed; `experiment` is the sha256 of what was run on what. One
    that diverged has no scores, and the steps until it was given up."""

    arm: str
    seed: int
    experiment: str
    steps: int
    tokens: int
    flops: float
    parameters: int
    seconds: float
    scores: tuple[Score, ...]


def workdir_of(root: Path, arm: str, seed: int) -> Path:
    return root / "runs" / f"{arm}-seed{seed}"
