"""Losses on plain arrays."""

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int


def contrastive(
    sources: Float[Array, "b d"],
    targets: Float[Array, "b d"],
    scale: Float[Array, ""],
    same: Bool[Array, "b b"] | None = None,
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Symmetric softmax NCE over the batch, and the share of sources ranking a true target first.

    `same[i, j]` marks pairs that are alike by the data (equal captions or labels): they are not
    negatives of each other, so their logits leave the denominator. The diagonal is the positive.
    """
    logits = scale * (sources @ targets.T)
    diagonal = jnp.eye(len(logits), dtype=bool)
    if same is not None:
        logits = jnp.where(same & ~diagonal, -jnp.inf, logits)
    losses = (jax.nn.log_softmax(logits, 1) + jax.nn.log_softmax(logits, 0)) * diagonal
    accuracy = jnp.mean(jnp.argmax(logits, 1) == jnp.arange(len(logits)))
    return -jnp.where(diagonal, losses, 0).sum() / (2 * len(logits)), accuracy


def softmax(
    logits: Float[Array, "b y"], labels: Int[Array, " b"]
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Softmax cross-entropy (SCE) and top-1 accuracy."""
    loss = optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()
    return loss, jnp.mean(jnp.argmax(logits, -1) == labels)
