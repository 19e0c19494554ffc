"""A non-convex classifier: a network that two tasks share, by turns or by the sum of both."""

import functools
import json
import math
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from imp_train.sampler import Stratified
from imp_train.studies.convergence.functions import Descended, Function, Parts, descended
from imp_train.studies.convergence.question import Question

_HIDDEN, _BATCH, _HELD_OUT = 64, 64, 2_000
_STEPS, _RATE = 3_000, 0.3
_CLASSES = {"spirals": 3, "rings": 2}
_ARMS = ("by turns", "sum, equal steps", "sum, equal batches", "alone")


def points(task: str, count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """float32 [count, 2] within the unit circle, and their classes: an arm of three spirals, or
    one of six rings by turns."""
    radius, angle = np.sqrt(rng.random(count)), rng.random(count) * 2 * math.pi
    if task == "spirals":
        label = rng.integers(0, 3, count)
        angle = 9 * radius + label * 2 * math.pi / 3 + 0.25 * rng.normal(size=count)
    else:
        label = np.minimum(6 * radius, 5).astype(np.int64) % 2
    place = np.stack([radius * np.cos(angle), radius * np.sin(angle)], -1)
    return place.astype(np.float32), label.astype(np.int32)


def network(rng: np.random.Generator) -> Parts:
    """Two hidden layers that both tasks share, and a head for each."""

    def layer(fan_in: int, fan_out: int) -> dict[str, np.ndarray]:
        kernel = rng.normal(size=(fan_in, fan_out)) * math.sqrt(2 / fan_in)
        return {"kernel": kernel.astype(np.float32), "bias": np.zeros(fan_out, np.float32)}

    heads = {f"head-{name}": layer(_HIDDEN, count) for name, count in _CLASSES.items()}
    return {"trunk": {"a": layer(2, _HIDDEN), "b": layer(_HIDDEN, _HIDDEN)}, **heads}


def _logits(parts: Parts, task: str, x: jax.Array) -> jax.Array:
    for name in ("a", "b"):
        x = jax.nn.relu(_affine(parts["trunk"][name], x))
    return _affine(parts[f"head-{task}"], x)


def _affine(layer: Any, x: jax.Array) -> jax.Array:
    return x @ layer["kernel"] + layer["bias"]


def _cross_entropy(names: tuple[str, ...], parts: Parts, batch: Any) -> jax.Array:
    """Summed over the tasks named."""
    losses = []
    for name, (x, label) in zip(names, batch, strict=True):
        picked = jnp.take_along_axis(jax.nn.log_softmax(_logits(parts, name, x)), label[:, None], 1)
        losses.append(-jnp.mean(picked))
    return sum(losses[1:], losses[0])


def _function(names: tuple[str, ...]) -> Function:
    return Function(
        name="+".join(names),
        loss=functools.partial(_cross_entropy, names),
        moves=("trunk", *(f"head-{name}" for name in names)),
        draw=lambda rng: [points(name, _BATCH, rng) for name in names],
    )


def _accuracy(arm: str, setting: str, seed: int, workdir: Path) -> float:
    """Top-1 on fresh points of the task `setting`."""
    if arm == "by turns":
        tasks = [_function((name,)) for name in _CLASSES]
    elif arm == "alone":
        tasks = [_function((setting,))]
    else:
        tasks = [_function(tuple(_CLASSES))]
    steps = _STEPS // 2 if arm in ("sum, equal batches", "alone") else _STEPS
    problem = Descended(
        tasks,
        sampler=Stratified(),
        steps=steps,
        rate=lambda step: _RATE * 0.5 * (1 + math.cos(math.pi * step / steps)),
        seed=seed,
    )
    tasks_run = setting if arm == "alone" else "both"
    identity = json.dumps({"classifier": arm, "of": tasks_run, "seed": seed})
    parts = network(np.random.default_rng(seed))
    # Both settings are of one run, but where each task has one of its own.
    state = descended(problem, parts, workdir.with_name(f"{arm}-{tasks_run}-{seed}"), identity)
    x, label = points(setting, _HELD_OUT, np.random.default_rng(1_000 + seed))
    found = jnp.argmax(_logits(state.parts, setting, jnp.asarray(x)), -1)
    return float(np.mean(np.asarray(found) == label))


QUESTION = Question(
    name="classifier",
    asks="two classification tasks share a network of two hidden layers: what is the held-out "
    f"top-1 after {_STEPS:,} steps of {_BATCH} points of one of them or of both, or half as many "
    "of both at once, or half as many of one alone?",
    value="top-1",
    arms=_ARMS,
    settings=tuple(_CLASSES),
    setting="held out",
    measure=_accuracy,
    log=False,
)
