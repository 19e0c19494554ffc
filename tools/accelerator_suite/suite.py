"""What the sections share: the shapes, the report, and what earlier sections found."""

import dataclasses
import statistics
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from accelerator_suite import timing
from accelerator_suite.report import Report
from accelerator_suite.shapes import Knobs, Shapes
from imp_model.config import ModelConfig
from imp_model.model import Model

PAIR = ("image", "text")


class Suite:
    """`rate` is the measured one of bfloat16 products, FLOPs a second; `attention` the best kernel
    that was found right; `compile_seconds` what one training step took to compile; `base` is the
    MoE step that others are compared with, `gains` by knob how much faster which change was."""

    def __init__(self, shapes: Shapes, report: Report, *, seed: int = 0) -> None:
        self.shapes = shapes
        self.report = report
        self.rate: float | None = None
        self.attention = "xla"
        self.compile_seconds = 60.0
        self.states: dict[str, Any] = {}
        self.steps: dict[str, Any] = {}
        self.base: Any = None
        self.compiled_steps: dict[Any, Any] = {}
        self.gains: dict[str, tuple[float, Mapping[str, Any]]] = {}
        self.rng = np.random.default_rng(seed)
        self._models: dict[str, Model] = {}

    @property
    def on_gpu(self) -> bool:
        return jax.default_backend() == "gpu"

    def knobs_now(self) -> Knobs:
        """Those to begin with."""
        return dataclasses.replace(self.shapes.knobs, attention=self.attention)

    def compiled(self, function: Any, *arguments: Any, **options: Any) -> timing.Compiled:
        """As `timing.compiled`; its seconds are the running section's."""
        program = timing.compiled(function, *arguments, **options)
        self.report.sections[-1].compile_seconds += program.seconds
        return program

    def in_turns(self, arms: Mapping[str, timing.Arm]) -> dict[str, list[float]]:
        return timing.in_turns(arms, rounds=self.shapes.rounds, seconds=self.shapes.seconds)

    def median(self, arm: timing.Arm) -> float:
        return statistics.median(self.in_turns({"": arm})[""])

    def model(self, name: str) -> Model:
        """ "moe" or "dense", with random weights, made once: never to be given away."""
        if name not in self._models:
            config: ModelConfig = getattr(self.shapes, name)
            self._models[name] = Model.create(config, pairs=[PAIR])
        return self._models[name]

    def images(self, count: int, size: int) -> np.ndarray:
        return self.rng.integers(0, 256, (count, size, size, 3)).astype(np.uint8)

    def texts(self, count: int, length: int) -> np.ndarray:
        """Of half the length at least, as captions are padded."""
        ids = self.rng.integers(1, self.shapes.moe.vocab_size, (count, length)).astype(np.int32)
        lengths = self.rng.integers(max(1, length // 2), length + 1, count)
        ids[np.arange(length) >= lengths[:, None]] = 0
        return ids


def recast(model: Model, **options: Any) -> Model:
    """The same arrays under a config that differs in program and rounding alone."""
    like = Model.abstract(dataclasses.replace(model.config, **options), pairs=[PAIR])
    return jax.tree.unflatten(jax.tree.structure(like), jax.tree.leaves(model))
