"""Alike: from rows that collided to items that are alike, by the exact check."""

import numpy as np

from imp_data.near_duplicates.fingerprints import Fingerprints
from imp_data.near_duplicates.kinds import Comparison

# Scores are compared after rounding: the last bits of a product may depend on its batch.
_DECIMALS = 3


def alike(
    a: Fingerprints, b: Fingerprints, pairs: np.ndarray, comparison: Comparison
) -> tuple[np.ndarray, np.ndarray]:
    """int64 [p, 4] candidates, repetitions allowed -> int64 [k, 2] items and float32 [k].

    The similarity of two items is the mean over the rows that match, each at its best.
    """
    pairs = np.unique(pairs, axis=0)
    # What rounds up to the threshold must be scored in full.
    enough = comparison.threshold - 10**-_DECIMALS
    scores = np.round(comparison.similarity(a, b, pairs, enough), _DECIMALS)
    good = scores >= comparison.threshold
    rows, scores = pairs[good, :2], scores[good]
    # The best variant of each pair of rows is the last of its run.
    order = np.lexsort((scores, rows[:, 1], rows[:, 0]))
    rows, scores = rows[order], scores[order]
    last = np.ones(len(rows), bool)
    last[:-1] = (rows[1:] != rows[:-1]).any(axis=1)
    rows, scores = rows[last], scores[last]
    items = np.stack([a.owner[rows[:, 0]], b.owner[rows[:, 1]]], axis=1).astype(np.int64)
    found, which = np.unique(items, axis=0, return_inverse=True)
    which = which.reshape(-1)
    mean = np.bincount(which, scores, len(found)) / np.bincount(which, minlength=len(found))
    matched = np.minimum(_distinct(which, rows[:, 0], found), _distinct(which, rows[:, 1], found))
    fewer = np.minimum(a.row_counts()[found[:, 0]], b.row_counts()[found[:, 1]])
    kept = matched >= np.maximum(1, comparison.share * fewer)
    return found[kept], np.round(mean[kept], _DECIMALS).astype(np.float32)


def _distinct(which: np.ndarray, rows: np.ndarray, found: np.ndarray) -> np.ndarray:
    """int64 [k]: how many different rows each pair of items has among its matches."""
    unique = np.unique(np.stack([which, rows], axis=1), axis=0)
    return np.bincount(unique[:, 0], minlength=len(found))
