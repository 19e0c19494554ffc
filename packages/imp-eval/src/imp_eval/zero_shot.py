"""Zero-shot classification: a classifier out of class names, and its scores.

Legend: n examples, y classes, p prompts a class, k numbers in an embedding.

Ties. A score says what a ranking that breaks ties at random would get on average, so that a model
that answers the same for everything scores chance, not 0 and not 1.
"""

import dataclasses

import numpy as np


def class_embeddings(prompt_embeddings: np.ndarray) -> np.ndarray:
    """The mean of each class's prompts, of length 1: float32 [y, p, k] -> float32 [y, k]."""
    mean = prompt_embeddings.astype(np.float64).mean(axis=1)
    norm = np.linalg.norm(mean, axis=1, keepdims=True)
    return (mean / np.maximum(norm, 1e-12)).astype(np.float32)


def probabilities(cosines: np.ndarray, logit_scale: float) -> np.ndarray:
    """Softmax over classes of the scaled cosines: float32 [n, y] -> float32 [n, y]."""
    logits = cosines.astype(np.float64) * logit_scale
    logits -= logits.max(axis=1, keepdims=True)
    weights = np.exp(logits)
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


def top_k(scores: np.ndarray, labels: np.ndarray, k: int) -> np.ndarray:
    """For each example the probability that its label is among the k best: float64 [n].

    It is 0 or 1 but where the label's score ties across the k-th place. `scores` [n, y], higher is
    better; `labels` int [n]. Raises ValueError for NaN scores and labels outside 0..y-1.
    """
    _check(scores, labels)
    if k < 1:
        raise ValueError(f"k {k} must be at least 1")
    own = np.take_along_axis(scores, labels[:, None].astype(np.int64), axis=1)
    better = (scores > own).sum(axis=1)
    tied = (scores == own).sum(axis=1)  # the label itself included
    return np.clip((k - better) / tied, 0.0, 1.0)


def mean_per_class(correct: np.ndarray, labels: np.ndarray) -> float:
    """The mean over classes that occur of the mean of `correct` [n] within the class."""
    classes, inverse = np.unique(labels, return_inverse=True)
    sums = np.bincount(inverse, weights=correct, minlength=len(classes))
    return float((sums / np.bincount(inverse, minlength=len(classes))).mean())


@dataclasses.dataclass(frozen=True, kw_only=True)
class ZeroShotScores:
    """Fractions between 0 and 1; `chance_*` is what random scores get on these classes."""

    num_examples: int
    num_classes: int
    top_1: float
    top_5: float
    mean_per_class: float
    chance_top_1: float
    chance_top_5: float


def score(scores: np.ndarray, labels: np.ndarray) -> ZeroShotScores:
    """Scores [n, y] (cosines, logits or probabilities) against labels int [n].

    Raises ValueError for no examples, NaN scores and labels outside 0..y-1.
    """
    first = top_k(scores, labels, 1)
    num_classes = scores.shape[1]
    return ZeroShotScores(
        num_examples=len(labels),
        num_classes=num_classes,
        top_1=float(first.mean()),
        top_5=float(top_k(scores, labels, 5).mean()),
        mean_per_class=mean_per_class(first, labels),
        chance_top_1=1 / num_classes,
        chance_top_5=min(5, num_classes) / num_classes,
    )


def _check(scores: np.ndarray, labels: np.ndarray) -> None:
    if scores.ndim != 2 or labels.shape != scores.shape[:1] or scores.size == 0:
        raise ValueError(
            f"scores {scores.shape} and labels {labels.shape} must be [n, y] and [n], not empty"
        )
    if np.isnan(scores).any():
        raise ValueError(f"{int(np.isnan(scores).sum())} of {scores.size} scores are NaN")
    if labels.min() < 0 or labels.max() >= scores.shape[1]:
        raise ValueError(
            f"labels {labels.min()}..{labels.max()} must lie within 0..{scores.shape[1] - 1}"
        )
