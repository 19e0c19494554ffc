"""Matrix factorisation by alternating gradient descent with a fixed step (Ward & Kolda 2023).

A = X Y^T of rank r is sought by d > r columns; a step on X, then a step on Y. They prove that
C (sigma_1 / sigma_r)^2 log(1 / epsilon) iterations suffice from an unbalanced start: X_0 within the
column space of A and of scale 1 / sqrt(rate), Y_0 tiny.
"""

import functools
import json
import math
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from imp_train import metrics
from imp_train.sampler import Interval
from imp_train.studies.convergence.functions import Descended, Function, Parts, descended
from imp_train.studies.convergence.question import Question

_ROWS, _COLUMNS, _RANK, _WIDTH = 100, 80, 5, 10
EPSILON = 1e-6
_CONDITIONS = (1, 2, 4, 8, 16)
_MOST = 8_192
# Of sigma_1, which is 1.
_RATE = 0.5
# Ward & Kolda's C, and the scale of their Y_0.
_SHRINK, _TINY = 4.0, 1e-6
_STARTS = ("unbalanced", "standard", "small")


def matrix(condition: float, rng: np.random.Generator) -> np.ndarray:
    """Singular values from 1 down to 1 / condition, evenly in their logarithms."""
    left, _ = np.linalg.qr(rng.normal(size=(_ROWS, _RANK)))
    right, _ = np.linalg.qr(rng.normal(size=(_COLUMNS, _RANK)))
    return left * np.geomspace(1, 1 / condition, _RANK) @ right.T


def start(kind: str, a: np.ndarray, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Their unbalanced one; Gaussians of the size that A's factors have; or small Gaussians."""
    x, y = (rng.normal(size=(rows, _WIDTH)) for rows in (_ROWS, _COLUMNS))
    if kind == "unbalanced":
        within = a @ rng.normal(size=(_COLUMNS, _WIDTH)) / math.sqrt(_WIDTH)
        factors = within / (math.sqrt(_RATE) * _SHRINK), _TINY * y
    elif kind == "standard":
        factors = x / math.sqrt(_ROWS + _WIDTH), y / math.sqrt(_COLUMNS + _WIDTH)
    else:
        factors = 1e-3 * x, 1e-3 * y
    return {name: value.astype(np.float32) for name, value in zip("xy", factors, strict=True)}


def bound(condition: str) -> float:
    """(sigma_1 / sigma_r)^2 log(1 / epsilon): what they prove, but for the constant."""
    return float(condition) ** 2 * math.log(1 / EPSILON)


def _relative_error(a: jax.Array, parts: Parts, batch: Any) -> jax.Array:
    return jnp.sum((a - parts["x"] @ parts["y"].T) ** 2) / jnp.sum(a**2)


def _iterations(arm: str, setting: str, seed: int, workdir: Path) -> float | None:
    """Until the squared error is EPSILON of A's own; None where `_MOST` are not enough."""
    rng = np.random.default_rng(seed)
    a = matrix(float(setting), rng)
    loss = functools.partial(_relative_error, jnp.asarray(a, jnp.float32))
    # Of 1/2 |A - X Y^T|^2, which is not divided by |A|^2.
    rate = _RATE * 0.5 * float(np.sum(a**2))
    problem = Descended(
        [Function(name=name, loss=loss, moves=(name,)) for name in "xy"],
        sampler=Interval(),
        steps=2 * _MOST,
        rate=lambda step: rate,
        seed=seed,
    )
    identity = json.dumps({"factorization": setting, "start": arm, "seed": seed})
    parts, tries = start(arm, a, rng), 64
    while tries <= _MOST:
        descended(problem, parts, workdir, identity, stop_after=2 * tries)
        for record in metrics.read(workdir):
            if record["log10_loss"] < math.log10(EPSILON):
                return math.ceil(record["step"] / 2)
        tries *= 2
    return None


QUESTION = Question(
    name="matrix factorisation",
    asks=f"A of {_ROWS} x {_COLUMNS} and rank {_RANK} as X Y^T with {_WIDTH} columns, a step on X "
    f"and one on Y by turns with rate {_RATE} / sigma_1: how many iterations until the squared "
    f"error is {EPSILON:g} of A's?",
    value="iterations",
    arms=_STARTS,
    settings=tuple(map(str, _CONDITIONS)),
    setting="sigma_1 / sigma_r",
    measure=_iterations,
)
