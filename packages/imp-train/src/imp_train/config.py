"""Experiment: everything a run is, as one frozen value; its JSON lies beside each checkpoint."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from imp_data.views import View
from imp_model.config import ModelConfig
from imp_model.model import Pair
from imp_train.adaptive import Adaptive
from imp_train.sampler import Sampler
from imp_train.tasks import Task


@dataclasses.dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """Adam with warm-up and cosine decay (IMP section 4.1: peak 1e-3, no weight decay).

    `rates` multiply the rate of the parts whose names they begin, the longest match for each part:
    (("encoder", 0.1),) trains heads ten times as fast. `average` is the decay a step of a part's
    exponential moving average, which the bundle then holds; 0 keeps none. `momentum_dtype` is the
    first moment's; the second stays float32, for its steps are smaller than bfloat16 can take.
    `accumulate` batches make a step, their gradients averaged: all of one task, unless the
    experiment is mixed.
    """

    peak_rate: float = 1e-3
    warmup_steps: int = 0
    end_factor: float = 0.0
    b1: float = 0.9
    b2: float = 0.999
    epsilon: float = 1e-8
    weight_decay: float = 0.0
    clip_norm: float = 1.0
    max_skipped: int = 20
    rates: tuple[tuple[str, float], ...] = ()
    average: float = 0.0
    momentum_dtype: str = "float32"
    accumulate: int = 1

    def __post_init__(self) -> None:
        if self.peak_rate <= 0:
            raise ValueError(f"peak_rate {self.peak_rate} must be above 0")
        if self.clip_norm <= 0:
            raise ValueError(f"clip_norm {self.clip_norm} must be above 0; 1.0 is usual")
        if not 0 <= self.average < 1:
            raise ValueError(f"average {self.average} must be at least 0 and below 1, as 0.9999")
        if self.momentum_dtype not in ("float32", "bfloat16"):
            raise ValueError(f"momentum_dtype {self.momentum_dtype!r} must be float32 or bfloat16")
        if self.accumulate < 1:
            raise ValueError(f"accumulate {self.accumulate} must be at least 1 batch a step")
        for prefix, factor in self.rates:
            if factor < 0:
                raise ValueError(f"rates: {prefix!r} has {factor}; it must be at least 0")

    def rate_of(self, part: str) -> float:
        """What the part's rate is multiplied by."""
        fitting = [(len(prefix), f) for prefix, f in self.rates if part.startswith(prefix)]
        return max(fitting)[1] if fitting else 1.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Experiment:
    """`views` are what the bundle is served with, one a modality; `tokenizer` is the SentencePiece
    file of every text view, None if no task reads text; `init_from` is a bundle whose parameters
    training starts from, None to draw all. `mixed`: each of a step's `optimizer.accumulate` batches
    is of a task of its own draw, the mixed mini-batches that alternating is compared with (IMP
    section 3.1)."""

    name: str
    model: ModelConfig
    tasks: tuple[Task, ...]
    steps: int
    optimizer: OptimizerConfig
    sampler: Sampler | Adaptive
    views: tuple[View, ...]
    tokenizer: Path | None = None
    seed: int = 0
    checkpoint_every: int = 100
    log_every: int = 10
    equal_tokens: float = 1.0
    init_from: Path | None = None
    mixed: bool = False

    def __post_init__(self) -> None:
        if not self.tasks:
            raise ValueError(f"experiment {self.name!r} has no task")
        if self.steps < 1:
            raise ValueError(f"steps {self.steps} must be at least 1")
        names = [task.name for task in self.tasks]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"experiment {self.name!r} names task {twice[0]!r} twice")
        reads_text = any("text" in task.objective.modalities for task in self.tasks)
        if reads_text and self.tokenizer is None:
            raise ValueError(f"experiment {self.name!r} reads text but has no tokenizer")
        if self.mixed and self.optimizer.accumulate < 2:
            raise ValueError("a mixed step needs optimizer.accumulate of 2 batches or more")
        if self.mixed and isinstance(self.sampler, Adaptive):
            raise ValueError(
                f"a mixed step has several losses, from which {type(self.sampler).__name__} does "
                "not learn; use another sampler"
            )
        self._check_tokens()

    def _check_tokens(self) -> None:
        """A task's variants must cost alike: at most `equal_tokens` times the cheapest of them."""
        for task in self.tasks:
            totals = {v.name: _traded_tokens(v.tokens(self.model)) for v in task.variants}
            low, high = min(totals.values()), max(totals.values())
            if high > self.equal_tokens * low:
                raise ValueError(
                    f"task {task.name!r} has unequal tokens a batch {totals}; change the batch "
                    f"sizes, or allow it with equal_tokens={high / low:.2f}"
                )

    @property
    def pairs(self) -> tuple[Pair, ...]:
        """Every pair of modalities that some task contrasts, once, in the order of the tasks."""
        return tuple(dict.fromkeys(p for task in self.tasks for p in task.objective.pairs))


def _traded_tokens(tokens: Mapping[str, int]) -> int:
    """Those of vision where the task sees any: the paper's T = B x T_F x T_H x T_W. How long the
    caption or the sound beside it is, is the data's, and no resolution that is traded."""
    for traded in (("image", "video"), ("audio",), ("text",)):
        if seen := [tokens[modality] for modality in traded if modality in tokens]:
            return sum(seen)
    raise AssertionError("a variant sees nothing")


def to_json(experiment: Experiment) -> str:
    """Stable text of the resolved experiment; equal experiments give equal text."""
    return json.dumps(experiment, default=_encode, indent=1)


def as_recorded(recorded: Any, value: Any) -> Any:
    """`recorded`, what was once made of a `value` by `to_json`, as this version would put it.

    What has been added since with a default has that: the value it had without being named.
    """
    if dataclasses.is_dataclass(value) and isinstance(recorded, dict):
        filled = dict(recorded)
        for field in dataclasses.fields(value):
            if field.name in recorded:
                own = getattr(value, field.name)
                filled[field.name] = as_recorded(recorded[field.name], own)
            elif field.default is not dataclasses.MISSING:
                filled[field.name] = _plain(field.default)
            elif field.default_factory is not dataclasses.MISSING:
                filled[field.name] = _plain(field.default_factory())
        return filled
    if isinstance(value, tuple) and isinstance(recorded, list) and len(value) == len(recorded):
        return [as_recorded(then, now) for then, now in zip(recorded, value)]
    return recorded


def _plain(value: Any) -> Any:
    return json.loads(json.dumps(value, default=_encode))


def _encode(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
        return {"type": type(value).__name__} | fields
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{value!r} has no place in an experiment's JSON")
