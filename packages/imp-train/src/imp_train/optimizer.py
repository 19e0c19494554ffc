"""Adam, part by part: each part has its own moments and its own count of updates.

A part that a step does not use is neither read nor moved, so stale momentum cannot drift it, and
its bias correction counts the updates it had.
"""

import functools
import math
from typing import TypeAlias

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jaxtyping import Array, Bool, Float

from imp_train.config import OptimizerConfig

Parts: TypeAlias = dict[str, nnx.Module]
Moments: TypeAlias = dict[str, optax.OptState]


def _adam(config: OptimizerConfig) -> optax.GradientTransformation:
    return optax.scale_by_adam(b1=config.b1, b2=config.b2, eps=config.epsilon)


def init(config: OptimizerConfig, parts: Parts) -> Moments:
    return {name: _adam(config).init(part) for name, part in parts.items()}


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


@functools.partial(jax.jit, static_argnums=0, donate_argnums=(1, 2))
def update(
    config: OptimizerConfig,
    part: nnx.Module,
    moments: optax.OptState,
    grads: nnx.Module,
    rate: float | Float[Array, ""],
    factor: Float[Array, ""],
    finite: Bool[Array, ""],
) -> tuple[nnx.Module, optax.OptState]:
    """One part's update; where `finite` is false nothing changes.

    A program of its own, so that tasks share it: the update's many small kernels are compiled once
    a part instead of once a task.
    """
    direction, state = _adam(config).update(jax.tree.map(lambda g: g * factor, grads), moments)

    def move(p: Array, u: Array) -> Array:
        decay = config.weight_decay * p if p.ndim > 1 else 0.0
        return jnp.where(finite, p - rate * (u + decay), p)

    kept = jax.tree.map(lambda new, old: jnp.where(finite, new, old), state, moments)
    return jax.tree.map(move, part, direction), kept
