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


def chance_recall_at_k(num_relevant: np.ndarray, num_items: int, k: int) -> float:
    """Mean recall at k of random scores, given how many correct answers each query has: int [q]."""
    total = np.full(len(num_relevant), num_items)
    drawn = np.minimum(k, total)
    return float(1.0 - _miss(total, num_relevant, drawn).mean())


def chance_median_rank(num_relevant: np.ndarray, num_items: int) -> float:
    """The median rank of random scores: the least r with mean recall at r of a half or more."""
    low, high = 1, num_items
    while low < high:
        middle = (low + high) // 2
        if chance_recall_at_k(num_relevant, num_items, middle) >= 0.5:
            high = middle
        else:
            low = middle + 1
    return float(low)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Queries:
    """What each query of one direction got, float64 [q]: many queries are scored in blocks."""

    recall: dict[int, np.ndarray]
    precision_at_1: np.ndarray
    first_rank: np.ndarray
    num_relevant: np.ndarray
    num_items: int

    @classmethod
    def of(
        cls, scores: np.ndarray, relevant: np.ndarray, *, ks: Sequence[int] = (1, 5, 10)
    ) -> "Queries":
        """Raises ValueError for NaN scores or a query without answer."""
        return cls(
            recall={k: recall_at_k(scores, relevant, k) for k in ks},
            precision_at_1=precision_at_1(scores, relevant),
            first_rank=first_rank(scores, relevant),
            num_relevant=relevant.sum(axis=1),
            num_items=scores.shape[1],
        )

    @classmethod
    def joined(cls, blocks: Sequence["Queries"]) -> "Queries":
        """The queries of all blocks, which searched the same items."""
        return cls(
            recall={k: np.concatenate([b.recall[k] for b in blocks]) for k in blocks[0].recall},
            precision_at_1=np.concatenate([b.precision_at_1 for b in blocks]),
            first_rank=np.concatenate([b.first_rank for b in blocks]),
            num_relevant=np.concatenate([b.num_relevant for b in blocks]),
            num_items=blocks[0].num_items,
        )

    def scores(self) -> "RetrievalScores":
        return RetrievalScores(
            num_queries=len(self.first_rank),
            num_items=self.num_items,
            recall={k: float(values.mean()) for k, values in self.recall.items()},
            precision_at_1=float(self.precision_at_1.mean()),
            median_rank=float(np.median(self.first_rank)),
            chance_recall={
                k: chance_recall_at_k(self.num_relevant, self.num_items, k) for k in self.recall
            },
            chance_precision_at_1=float(self.num_relevant.mean() / self.num_items),
            chance_median_rank=chance_median_rank(self.num_relevant, self.num_items),
        )


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
    return Queries.of(scores, relevant, ks=ks).scores()


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
