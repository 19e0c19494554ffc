"""Adam, part by part: each part has its own moments and its own count of updates.

A part that a step does not use is neither read nor moved, so stale momentum cannot drift it, and
its bias correction counts the updates it had.
"""

from typing import TypeAlias

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jaxtyping import Array, Float, Int

from imp_train.config import OptimizerConfig

Parts: TypeAlias = dict[str, nnx.Module]
Moments: TypeAlias = dict[str, optax.OptState]


def _adam(config: OptimizerConfig) -> optax.GradientTransformation:
    return optax.scale_by_adam(b1=config.b1, b2=config.b2, eps=config.epsilon)


def init(config: OptimizerConfig, parts: Parts) -> Moments:
    return {name: _adam(config).init(part) for name, part in parts.items()}


def learning_rate(config: OptimizerConfig, step: Int[Array, ""], steps: int) -> Float[Array, ""]:
    """Linear warm-up, then cosine to `end_factor` of the peak at `steps`."""
    schedule = optax.warmup_cosine_decay_schedule(
        0.0 if config.warmup_steps else config.peak_rate,
        config.peak_rate,
        config.warmup_steps,
        max(steps, config.warmup_steps + 1),
        config.peak_rate * config.end_factor,
    )
    # One step ahead: the first update must not be lost to a rate of zero.
    return jnp.asarray(schedule(step + 1))


def update(
    config: OptimizerConfig,
    parts: Parts,
    moments: Moments,
    grads: Parts,
    rate: Float[Array, ""],
    loss: Float[Array, ""],
) -> tuple[Parts, Moments, dict[str, Array]]:
    """Clipped by the norm over all used parts; a non-finite loss or gradient changes nothing."""
    norm = optax.global_norm(grads)
    finite = jnp.isfinite(norm) & jnp.isfinite(loss)
    factor = jnp.minimum(1.0, config.clip_norm / (norm + 1e-12))
    new_parts, new_moments = {}, {}
    for name, part in parts.items():
        clipped = jax.tree.map(lambda g: g * factor, grads[name])
        direction, state = _adam(config).update(clipped, moments[name])
        moved = jax.tree.map(
            lambda p, u: p - rate * (u + config.weight_decay * p * (p.ndim > 1)), part, direction
        )
        keep = lambda new, old: jnp.where(finite, new, old)  # noqa: E731
        new_parts[name] = jax.tree.map(keep, moved, part)
        new_moments[name] = jax.tree.map(keep, state, moments[name])
    return new_parts, new_moments, {"grad_norm": norm, "skipped": ~finite, "rate": rate}
