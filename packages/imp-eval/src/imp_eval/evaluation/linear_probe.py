"""Linear probe: multinomial logistic regression on frozen features, by L-BFGS.

SciPy's L-BFGS on a loss and gradient that JAX compiles for whatever device there is; the objective
is scikit-learn's, c * sum of cross-entropies + half the weights' squares, biases free. The strength
is chosen as for CLIP (Radford et al. 2021, A.3): a coarse sweep in powers of ten, then finer steps
around the best, by accuracy on a validation part; then all is fitted again on both parts.

Legend: n examples, d numbers in a feature, y classes.
"""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
import scipy.optimize

from imp_eval import zero_shot

_DECADES = (-6.0, -4.0, -2.0, 0.0, 2.0, 4.0, 6.0)
_FINER = (1.0, 0.5)
# Cross-entropies in float32 are known to about this.
_TOLERANCE = {"ftol": 1e-8, "gtol": 1e-5, "maxls": 50}


@dataclasses.dataclass(frozen=True, kw_only=True)
class LinearProbe:
    """`weights` float32 [d, y] and `bias` [y], for features as they are; `strengths` are the
    accuracies on the validation part by c, `chosen` the best of them; `converged` is whether the
    last fit came to rest within its iterations."""

    weights: np.ndarray
    bias: np.ndarray
    strengths: dict[float, float]
    chosen: float
    converged: bool

    def logits(self, features: np.ndarray) -> np.ndarray:
        """float32 [n, d] -> float32 [n, y]."""
        return features @ self.weights + self.bias


def probe(
    train: np.ndarray,
    labels: np.ndarray,
    validation: np.ndarray,
    validation_labels: np.ndarray,
    *,
    num_classes: int,
    max_iterations: int = 1000,
) -> LinearProbe:
    """float32 [n, d] and int [n] of two parts -> the probe fitted on both, at the best strength.

    Features are standardised by the training part's mean and deviation. Of strengths of equal
    accuracy that of the least cross-entropy is taken: where classes are easily told apart many are
    equal, weights too small to mean anything among them. Raises ValueError for less than two
    classes in training.
    """
    if len(np.unique(labels)) < 2:
        raise ValueError("a linear probe needs training examples of two classes or more")
    mean, deviation = train.mean(axis=0), train.std(axis=0)
    deviation = np.where(deviation > 1e-6, deviation, 1.0).astype(np.float32)
    train, validation = (train - mean) / deviation, (validation - mean) / deviation
    found: dict[float, tuple[float, float]] = {}

    def sweep(decades: Sequence[float]) -> None:
        start = None
        for decade in sorted(set(decades) - set(found)):
            start, _ = fit(train, labels, 10**decade, num_classes, max_iterations, start=start)
            logits = validation @ start[:-1] + start[-1]
            own = logits[np.arange(len(logits)), validation_labels]
            entropy = (np.logaddexp.reduce(logits.astype(np.float64), axis=1) - own).mean()
            accuracy = zero_shot.top_k(logits, validation_labels, 1).mean()
            found[decade] = (float(accuracy), float(entropy))

    sweep(_DECADES)
    for step in _FINER:
        sweep((best(found) - step, best(found) + step))
    chosen = best(found)
    both, both_labels = np.concatenate([train, validation]), np.append(labels, validation_labels)
    fitted, converged = fit(both, both_labels, 10**chosen, num_classes, max_iterations)
    weights = fitted[:-1] / deviation[:, None]
    return LinearProbe(
        weights=weights,
        bias=fitted[-1] - mean @ weights,
        strengths={10**decade: accuracy for decade, (accuracy, _) in sorted(found.items())},
        chosen=10**chosen,
        converged=converged,
    )


def best(found: dict[float, tuple[float, float]]) -> float:
    """The key of the highest accuracy, and of those of the least cross-entropy."""
    return min(found, key=lambda decade: (-found[decade][0], found[decade][1]))


def fit(
    features: np.ndarray,
    labels: np.ndarray,
    c: float,
    num_classes: int,
    max_iterations: int,
    *,
    start: np.ndarray | None = None,
) -> tuple[np.ndarray, bool]:
    """float32 [n, d], int [n] -> weights and last the bias, float32 [d + 1, y]; and whether it came
    to rest."""
    shape = (features.shape[1] + 1, num_classes)
    x, y = jax.device_put(features.astype(np.float32)), jax.device_put(labels.astype(np.int32))
    penalty = np.float32(0.5 / (c * len(labels)))

    def value_and_gradient(flat: np.ndarray) -> tuple[float, np.ndarray]:
        value, gradient = _loss(flat.reshape(shape).astype(np.float32), x, y, penalty)
        return float(value), np.asarray(gradient, np.float64).ravel()

    found = scipy.optimize.minimize(
        value_and_gradient,
        np.zeros(shape).ravel() if start is None else start.astype(np.float64).ravel(),
        jac=True,
        method="L-BFGS-B",
        options=_TOLERANCE | {"maxiter": max_iterations},
    )
    return found.x.reshape(shape).astype(np.float32), found.nit < max_iterations


@jax.jit
def _loss(
    w: jax.Array, x: jax.Array, y: jax.Array, penalty: jax.Array
) -> tuple[jax.Array, jax.Array]:
    def loss(w: jax.Array) -> jax.Array:
        logits = jnp.matmul(x, w[:-1], precision="highest") + w[-1]
        own = jnp.take_along_axis(logits, y[:, None], axis=1)[:, 0]
        entropy = jax.nn.logsumexp(logits, axis=1) - own
        return entropy.mean() + penalty * jnp.square(w[:-1]).sum()

    return jax.value_and_grad(loss)(w)
