"""Losses on plain arrays."""

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int


def contrastive(
    sources: Float[Array, "b d"],
    targets: Float[Array, "b d"],
    scale: Float[Array, ""],
    groups: Int[Array, " b"],
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Symmetric softmax NCE over the batch, and the share of sources ranking a true target first.

    Examples of one group are alike by the data (equal captions or labels): they are not negatives
    of each other, so their logits leave the denominator. The diagonal is the positive.
    """
    # A similarity's error is multiplied by the scale, up to a hundred.
    logits = scale * jnp.matmul(sources, targets.T, precision=jax.lax.Precision.HIGHEST)
    diagonal = jnp.eye(len(logits), dtype=bool)
    same = groups[:, None] == groups[None]
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


def sigmoid(
    logits: Float[Array, "b y"], labels: Bool[Array, "b y"]
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Binary cross-entropy (BCE), summed over classes, and the share of labelled examples whose
    highest class is one of theirs."""
    loss = optax.sigmoid_binary_cross_entropy(logits, labels.astype(logits.dtype)).sum(1).mean()
    hits = jnp.take_along_axis(labels, jnp.argmax(logits, -1)[:, None], axis=1)
    return loss, hits.sum() / jnp.maximum(labels.any(1).sum(), 1)
