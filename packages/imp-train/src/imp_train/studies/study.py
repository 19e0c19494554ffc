"""Study: a question of the paper's as arms that differ in one thing, run at equal compute."""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path

from imp_train.config import Experiment
from imp_train.studies.corpora import Corpora


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scale:
    """How much each arm gets: steps, and examples a batch of 16 tokens each or of other sizes that
    come to the same tokens."""

    steps: int
    batch: int
    model: str
    """Of imp_model.config.SIZES; a study may take it dense, or with other experts."""


SCALES: dict[str, Scale] = {
    # Within twenty minutes a study on two cores, three seeds.
    "tiny": Scale(steps=400, batch=64, model="imp-moe-tiny"),
    # An hour or two.
    "small": Scale(steps=4_000, batch=64, model="imp-moe-tiny"),
    # 25 minutes on one large GPU.
    "gpu": Scale(steps=3_000, batch=512, model="imp-moe-s"),
}


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
    """What one arm came to with one seed; `experiment` is the sha256 of what was run on what."""

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
