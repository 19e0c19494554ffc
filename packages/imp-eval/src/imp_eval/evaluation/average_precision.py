"""Average precision, for examples of several labels: AudioSet's mAP is its mean over classes.

Ties. Examples of equal scores are retrieved together, as in scikit-learn, so that a model that
answers the same for everything gets each class's share of the examples, which is chance.

Legend: n examples, y classes, r resamples of a bootstrap.
"""

import numpy as np


def average_precision(scores: np.ndarray, relevant: np.ndarray) -> np.ndarray:
    """Of each class: float [n, y], bool [n, y] -> float64 [y]; NaN for one without an example.

    Raises ValueError for NaN scores.
    """
    if np.isnan(scores).any():
        raise ValueError(f"{int(np.isnan(scores).sum())} of {scores.size} scores are NaN")
    ones = np.ones((1, len(scores)))
    found = [_weighted(s, r, ones)[0] for s, r in zip(scores.T, relevant.T, strict=True)]
    return np.array(found)


def resampled_mean(scores: np.ndarray, relevant: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The mean over classes in each resample, which takes example i weights[., i] times.

    float [n, y], bool [n, y], float [r, n] -> float64 [r]; a class without an example is left out.
    """
    total, count = np.zeros(len(weights)), np.zeros(len(weights))
    for own, truth in zip(scores.T, relevant.T, strict=True):
        found = _weighted(own, truth, weights)
        total += np.nan_to_num(found)
        count += ~np.isnan(found)
    return total / np.maximum(count, 1)


def _weighted(scores: np.ndarray, relevant: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """One class: float [n], bool [n], float [r, n] -> float64 [r]."""
    order = np.argsort(-scores, kind="stable")
    # Where a run of equal scores ends.
    ends = np.flatnonzero(np.diff(scores[order], append=-np.inf))
    drawn = weights[:, order]
    seen = np.cumsum(drawn, axis=1)[:, ends]
    found = np.cumsum(drawn * relevant[order], axis=1)[:, ends]
    positives = found[:, -1]
    steps = np.diff(found, axis=1, prepend=0.0)
    area = (steps * found / np.maximum(seen, 1e-300)).sum(axis=1)
    return np.where(positives > 0, area / np.maximum(positives, 1e-300), np.nan)
