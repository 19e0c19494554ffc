"""Adam, part by part: each part has its own moments and its own count of updates.

A part that a step does not use is neither read nor moved, so stale momentum cannot drift it, and
its bias correction counts the updates it had.
"""

import functools
import math
from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jaxtyping import Array, Bool, Float

from imp_train.config import OptimizerConfig


class PartMoments(NamedTuple):
    """Adam's state of a part and, where one is kept, the part's moving average."""

    adam: optax.OptState
    average: nnx.Module | None


Parts: TypeAlias = dict[str, nnx.Module]
Moments: TypeAlias = dict[str, PartMoments]


def _adam(config: OptimizerConfig) -> optax.GradientTransformation:
    # None keeps the parameters' own dtype.
    dtype = None if config.momentum_dtype == "float32" else config.momentum_dtype
    return optax.scale_by_adam(b1=config.b1, b2=config.b2, eps=config.epsilon, mu_dtype=dtype)


def init(config: OptimizerConfig, parts: Parts) -> Moments:
    def of(part: nnx.Module) -> PartMoments:
        # A copy: a step gives the part's own buffers away.
        average = jax.tree.map(jnp.copy, part) if config.average else None
        return PartMoments(_adam(config).init(part), average)

    return {name: of(part) for name, part in parts.items()}


def averaged(parts: Parts, moments: Moments) -> Parts:
    """The parts' moving averages, where these are kept; else the parts."""
    kept = {name: own.average for name, own in moments.items() if own.average is not None}
    return parts | kept


def learning_rate(config: OptimizerConfig, step: int, steps: int) -> float:
    """Linear warm-up, then a cosine to `end_factor` of the peak at `steps`.

    On the host: a program that held the schedule would be compiled anew for another length of run.
    """
    if step < config.warmup_steps:
        # One step ahead: the first update must not be lost to a rate of zero.
        return config.peak_rate * (step + 1) / config.warmup_steps
    done = (step - config.warmup_steps) / max(1, steps - config.warmup_steps)
    cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
    return config.peak_rate * (config.end_factor + (1 - config.end_factor) * cosine)


def clipped_norm(
    config: OptimizerConfig, grads: Parts, loss: Float[Array, ""]
) -> tuple[Float[Array, ""], Float[Array, ""], Bool[Array, ""]]:
    """The norm over all used parts, the factor that clips it, and whether all is finite."""
    norm = optax.global_norm(grads)
    factor = jnp.minimum(1.0, config.clip_norm / (norm + 1e-12))
    return norm, factor, jnp.isfinite(norm) & jnp.isfinite(loss)


def accumulate(total: Parts, grads: Parts) -> None:
    """Adds a batch's gradients to the sum of those before it, which is given away with them.

    Each program is a part's, so that no mixture of tasks is one of its own.
    """
    for name, grad in grads.items():
        total[name] = _added(total[name], grad) if name in total else grad


def accumulated(
    config: OptimizerConfig, total: Parts, losses: Sequence[Float[Array, ""]]
) -> tuple[Float[Array, ""], tuple[Float[Array, ""], Bool[Array, ""]]]:
    """Of the sum of as many batches' gradients: the norm of their mean, and `update`'s controls."""
    square = sum(_square(grad) for grad in total.values())
    norm, factor, finite = _controls(config, square, sum(losses), float(len(losses)))
    return norm, (factor, finite)


@functools.partial(jax.jit, donate_argnums=0)
def _added(a: nnx.Module, b: nnx.Module) -> nnx.Module:
    return jax.tree.map(jnp.add, a, b)


@jax.jit
def _square(part: nnx.Module) -> Float[Array, ""]:
    return optax.global_norm(part) ** 2


@functools.partial(jax.jit, static_argnums=0)
def _controls(
    config: OptimizerConfig, square: Array, loss: Array, count: float | Array
) -> tuple[Array, Array, Array]:
    norm = jnp.sqrt(square) / count
    factor = jnp.minimum(1.0, config.clip_norm / (norm + 1e-12)) / count
    return norm, factor, jnp.isfinite(norm) & jnp.isfinite(loss)


@functools.partial(jax.jit, static_argnums=0, donate_argnums=(1, 2))
def update(
    config: OptimizerConfig,
    part: nnx.Module,
    moments: PartMoments,
    grads: nnx.Module,
    rate: float | Float[Array, ""],
    factor: Float[Array, ""],
    finite: Bool[Array, ""],
) -> tuple[nnx.Module, PartMoments]:
    """One part's update; where `finite` is false nothing changes.

    A program of its own, so that tasks share it: the update's many small kernels are compiled once
    a part instead of once a task.
    """
    direction, state = _adam(config).update(jax.tree.map(lambda g: g * factor, grads), moments.adam)

    def move(p: Array, u: Array) -> Array:
        decay = config.weight_decay * p if p.ndim > 1 else 0.0
        return jnp.where(finite, p - rate * (u + decay), p)

    kept = jax.tree.map(lambda new, old: jnp.where(finite, new, old), state, moments.adam)
    moved = jax.tree.map(move, part, direction)
    average = None
    if moments.average is not None:
        # Young averages follow quickly: their decay is what t updates can fill.
        t = kept.count.astype(jnp.float32)
        decay = jnp.minimum(config.average, t / (t + 9))

        def follow(old: Array, new: Array) -> Array:
            return jnp.where(finite, old + (1 - decay) * (new - old), old)

        average = jax.tree.map(follow, moments.average, moved)
    return moved, PartMoments(kept, average)
