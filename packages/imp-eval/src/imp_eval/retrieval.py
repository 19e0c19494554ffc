"""Cross-modal retrieval scores, for queries with one or several correct answers.

Legend: q queries, n items searched. `scores` [q, n], higher is better; `relevant` bool [q, n] says
which items are correct answers: those of the same pair, of the same text, or of the same label.

Ties. As in zero_shot: the expectation over rankings that break ties at random.
"""

import dataclasses
from collections.abc import Hashable, Sequence

import numpy as np


def same(queries: Sequence[Hashable], items: Sequence[Hashable]) -> np.ndarray:
    """bool [q, n]: true where query and item have the same key (text, label, pair number)."""
    codes: dict[Hashable, int] = {}
    a = np.array([codes.setdefault(key, len(codes)) for key in queries], np.int64)
    b = np.array([codes.setdefault(key, len(codes)) for key in items], np.int64)
    return a[:, None] == b[None, :]


def recall_at_k(scores: np.ndarray, relevant: np.ndarray, k: int) -> np.ndarray:
    """For each query the probability that a correct answer is among the k best: float64 [q]."""
    if k < 1:
        raise ValueError(f"k {k} must be at least 1")
    better, tied, correct = _around_first(scores, relevant)
    drawn = np.clip(k - better, 0, tied)
    return 1.0 - _miss(tied, correct, drawn)


def first_rank(scores: np.ndarray, relevant: np.ndarray) -> np.ndarray:
    """For each query the expected rank, from 1, of its best correct answer: float64 [q]."""
    better, tied, correct = _around_first(scores, relevant)
    return better + (tied + 1) / (correct + 1)


def precision_at_1(scores: np.ndarray, relevant: np.ndarray) -> np.ndarray:
    """For each query the probability that the best item is correct: float64 [q]."""
    _check(scores, relevant)
    best = scores == scores.max(axis=1, keepdims=True)
    return (best & relevant).sum(axis=1) / best.sum(axis=1)


def chance_recall_at_k(relevant: np.ndarray, k: int) -> float:
    """Mean recall at k of random scores, given how many correct answers each query has."""
    num_items = np.full(len(relevant), relevant.shape[1])
    drawn = np.minimum(k, num_items)
    return float(1.0 - _miss(num_items, relevant.sum(axis=1), drawn).mean())


def chance_median_rank(relevant: np.ndarray) -> float:
    """The median rank of random scores: the least r with mean recall at r of a half or more."""
    low, high = 1, relevant.shape[1]
    while low < high:
        middle = (low + high) // 2
        if chance_recall_at_k(relevant, middle) >= 0.5:
            high = middle
        else:
            low = middle + 1
    return float(low)


@dataclasses.dataclass(frozen=True, kw_only=True)
class RetrievalScores:
    """Recalls and precision are fractions; ranks count from 1; `chance_*` is of random scores."""

    num_queries: int
    num_items: int
    recall: dict[int, float]
    precision_at_1: float
    median_rank: float
    chance_recall: dict[int, float]
    chance_precision_at_1: float
    chance_median_rank: float


def score(
    scores: np.ndarray, relevant: np.ndarray, *, ks: Sequence[int] = (1, 5, 10)
) -> RetrievalScores:
    """Every figure of one direction. Raises ValueError for NaN scores or a query without answer."""
    return RetrievalScores(
        num_queries=scores.shape[0],
        num_items=scores.shape[1],
        recall={k: float(recall_at_k(scores, relevant, k).mean()) for k in ks},
        precision_at_1=float(precision_at_1(scores, relevant).mean()),
        median_rank=float(np.median(first_rank(scores, relevant))),
        chance_recall={k: chance_recall_at_k(relevant, k) for k in ks},
        chance_precision_at_1=float(relevant.mean()),
        chance_median_rank=chance_median_rank(relevant),
    )


def _around_first(
    scores: np.ndarray, relevant: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """How many items are above the best correct one, tied with it, and correct among those."""
    _check(scores, relevant)
    best = np.where(relevant, scores, -np.inf).max(axis=1, keepdims=True)
    tied = scores == best
    return (scores > best).sum(axis=1), tied.sum(axis=1), (tied & relevant).sum(axis=1)


def _miss(total: np.ndarray, correct: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """P(no correct one among `drawn` of `total`) = C(total-correct, drawn) / C(total, drawn)."""
    miss = np.ones(len(total))
    for i in range(int(correct.max(initial=0))):
        # The i-th correct one must also fall among the places that weren't drawn.
        left = np.maximum(total - drawn - i, 0) / np.maximum(total - i, 1)
        miss *= np.where(i < correct, left, 1.0)
    return miss


def _check(scores: np.ndarray, relevant: np.ndarray) -> None:
    if scores.ndim != 2 or relevant.shape != scores.shape or scores.size == 0:
        raise ValueError(
            f"scores {scores.shape} and relevant {relevant.shape} must both be [q, n], not empty"
        )
    if np.isnan(scores).any():
        raise ValueError(f"{int(np.isnan(scores).sum())} of {scores.size} scores are NaN")
    if not relevant.any(axis=1).all():
        missing = int(np.flatnonzero(~relevant.any(axis=1))[0])
        raise ValueError(f"query {missing} has no correct answer among the items; leave it out")
