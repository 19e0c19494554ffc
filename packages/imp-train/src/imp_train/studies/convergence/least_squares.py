"""Convex tasks that disagree: least squares with shared weights, against the closed form."""

import functools
import json
import math
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from imp_train.sampler import Interval, Multinomial, Sampler, Stratified
from imp_train.studies.convergence.functions import Descended, Function, Parts, descended
from imp_train.studies.convergence.question import Question

_TASKS, _ROWS, _DIM, _STEPS = 4, 32, 16, 4_000
_WEIGHTS = (4.0, 2.0, 1.0, 1.0)
_SAMPLERS: dict[str, Sampler] = {
    "multinomial": Multinomial(),
    "stratified": Stratified(),
    "interval": Interval(),
}


def least_squares(seed: int) -> tuple[list[Function], np.ndarray, np.ndarray]:
    """Tasks 1/2 mean (a w - b)^2 by weight, and all of them as one: sqrt-weighted a and b."""
    rng = np.random.default_rng(seed)
    rows = [rng.normal(size=(_ROWS, _DIM)) for _ in range(_TASKS)]
    # Each task has an optimum of its own, so that no step suits all of them.
    sides = [a @ rng.normal(size=_DIM) + 0.1 * rng.normal(size=_ROWS) for a in rows]
    tasks = [
        Function(
            name=f"task-{k}",
            loss=functools.partial(_half_mean_square, _constant(a), _constant(b)),
            moves=("weights",),
            weight=weight,
        )
        for k, (a, b, weight) in enumerate(zip(rows, sides, _WEIGHTS, strict=True))
    ]
    share = np.sqrt(np.array(_WEIGHTS) / sum(_WEIGHTS) / _ROWS)
    return (
        tasks,
        np.concatenate([s * a for s, a in zip(share, rows, strict=True)]),
        np.concatenate([s * b for s, b in zip(share, sides, strict=True)]),
    )


def _constant(value: np.ndarray) -> jax.Array:
    return jnp.asarray(value, jnp.float32)


def _half_mean_square(a: jax.Array, b: jax.Array, parts: Parts, batch: Any) -> jax.Array:
    return 0.5 * jnp.mean((a @ parts["weights"] - b) ** 2)


def _gap(arm: str, setting: str, seed: int, workdir: Path) -> float:
    """(F(w) - F*) / (F(0) - F*) after all steps, in float64."""
    tasks, a, b = least_squares(seed)
    # Over the largest curvature of a single task every step could go too far.
    peak = 0.5 / max(_curvature(task) for task in tasks)
    fixed = setting == "fixed"

    def rate(step: int) -> float:
        return peak if fixed else peak * 0.5 * (1 + math.cos(math.pi * step / _STEPS))

    problem = Descended(tasks, sampler=_SAMPLERS[arm], steps=_STEPS, rate=rate, seed=seed)
    identity = json.dumps({"least squares": setting, "sampler": arm, "seed": seed})
    state = descended(problem, {"weights": np.zeros(_DIM, np.float32)}, workdir, identity)

    def value(w: np.ndarray) -> float:
        return 0.5 * float(np.sum((a @ w - b) ** 2))

    best = value(np.linalg.lstsq(a, b, rcond=None)[0])
    return (value(np.asarray(state.parts["weights"], np.float64)) - best) / (
        value(np.zeros(_DIM)) - best
    )


def _curvature(task: Function) -> float:
    """The largest eigenvalue of the Hessian, which is the same everywhere."""
    hessian = jax.hessian(lambda w: task.loss({"weights": w}, None))(jnp.zeros(_DIM))
    return float(np.linalg.eigvalsh(hessian)[-1])


QUESTION = Question(
    name="least squares",
    asks=f"{_TASKS} convex tasks with optima of their own, by turns: how far from the closed-form "
    f"optimum of their weighted sum after {_STEPS:,} steps?",
    value="gap to the optimum, of the gap at the start",
    arms=tuple(_SAMPLERS),
    settings=("fixed", "to zero"),
    setting="rate",
    measure=_gap,
)
