"""Tokens-choose's auxiliary losses (Shazeer et al. 2017; V-MoE, appendix A), group by group.

Experts-choose has an equal load by construction and none of them.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from imp_model.config import ModelConfig


def losses(
    config: ModelConfig,
    logits: Float[Array, "g e n"],
    noisy: Float[Array, "g e n"],
    std: float,
    mask: Bool[Array, "g n"] | None,
) -> dict[str, Array]:
    """`importance_loss`, `load_loss` where there is noise, and `auxiliary_loss`, their sum by the
    weights of `config`: each [g]."""
    parts = {"importance_loss": importance(jax.nn.softmax(logits, axis=1), mask)}
    total = config.importance_loss * parts["importance_loss"]
    if std:
        parts["load_loss"] = load(logits, noisy, std, mask, top_k=config.top_k)
        total += config.load_loss * parts["load_loss"]
    return parts | {"auxiliary_loss": total}


def importance(probs: Float[Array, "g e n"], mask: Bool[Array, "g n"] | None) -> Float[Array, "g"]:
    """How unevenly the gates' weight lies on experts: its coefficient of variation squared."""
    return _variation(probs, mask)


def load(
    logits: Float[Array, "g e n"],
    noisy: Float[Array, "g e n"],
    std: float,
    mask: Bool[Array, "g n"] | None,
    *,
    top_k: int,
) -> Float[Array, "g"]:
    """How unevenly tokens fall to the experts: a token counts with the probability that its expert
    would stay among its top k if that expert's noise were drawn again."""
    threshold = jax.lax.top_k(noisy.transpose(0, 2, 1), top_k)[0][..., -1]
    stays = jax.scipy.stats.norm.cdf((logits - threshold[:, None, :]) / std)
    return _variation(stays, mask)


def _variation(
    weights: Float[Array, "g e n"], mask: Bool[Array, "g n"] | None
) -> Float[Array, "g"]:
    if mask is not None:
        weights = weights * mask[:, None, :]
    by_expert = weights.sum(2)
    # Without its root: the deviation has no gradient where it is 0.
    return by_expert.var(1) / jnp.square(jnp.maximum(by_expert.mean(1), 1e-9))


def auxiliary_loss(metrics: Mapping[str, Array]) -> Array | float:
    """What training adds to its objective, of `Model.encode`'s metrics: the layers' sum, averaged
    over modalities."""
    terms = [v.sum() for name, v in metrics.items() if name.endswith("/auxiliary_loss")]
    return sum(terms) / len(terms) if terms else 0.0
