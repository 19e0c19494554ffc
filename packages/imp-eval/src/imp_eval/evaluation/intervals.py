"""Confidence intervals by bootstrap: what a score would have been on other examples of the kind.

The percentile method over resamples of whole groups: the captions of one image come and go
together. Everything follows from the weights of a resample, one number a group, so that a thousand
resamples are one matrix product. Legend: r resamples, g groups, n values, y classes.
"""

import dataclasses
from collections.abc import Callable, Iterator

import numpy as np
import scipy.sparse

# Of a block of resamples' weights.
_BLOCK_BYTES = 64 << 20
Interval = tuple[float, float]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Bootstrap:
    """Every interval is of the same draws: equal seeds, equal intervals."""

    num_resamples: int = 1000
    level: float = 0.95
    seed: int = 0

    def __post_init__(self) -> None:
        if self.num_resamples < 1:
            raise ValueError(f"{self.num_resamples} resamples must be at least 1")
        if not 0 < self.level < 1:
            raise ValueError(f"level {self.level} must lie between 0 and 1, as 0.95")

    def mean(self, values: np.ndarray, groups: np.ndarray | None = None) -> Interval:
        """Of the mean of float [n]; `groups` int [n] says what is drawn together."""
        groups = np.arange(len(values)) if groups is None else groups
        _, groups = np.unique(groups, return_inverse=True)
        sums, counts = np.bincount(groups, values), np.bincount(groups)
        return self.interval(len(counts), lambda w: (w @ sums) / (w @ counts))

    def mean_per_class(self, correct: np.ndarray, labels: np.ndarray) -> Interval:
        """Of the mean over classes of the mean within; a class that a resample lacks is left out
        of it."""
        n, (_, classes) = len(labels), np.unique(labels, return_inverse=True)
        members = scipy.sparse.csr_array((np.ones(n), (np.arange(n), classes)))
        right = scipy.sparse.csr_array((correct.astype(float), (np.arange(n), classes)))

        def estimate(weights: np.ndarray) -> np.ndarray:
            counts = weights @ members
            found = (weights @ right) / np.maximum(counts, 1)
            return found.sum(axis=1) / (counts > 0).sum(axis=1)

        return self.interval(n, estimate)

    def median(self, values: np.ndarray, groups: np.ndarray | None = None) -> Interval:
        """Of the median of float [n]."""
        groups = np.arange(len(values)) if groups is None else groups
        _, groups = np.unique(groups, return_inverse=True)
        order = np.argsort(values, kind="stable")
        rising, groups = values[order], groups[order]

        def estimate(weights: np.ndarray) -> np.ndarray:
            reached = np.cumsum(weights[:, groups], axis=1)
            half = reached[:, -1:] / 2
            # The middle of the two values that share the middle, where there are two.
            low = (reached < half).sum(axis=1)
            high = np.minimum((reached <= half).sum(axis=1), len(rising) - 1)
            return (rising[low] + rising[high]) / 2

        return self.interval(int(groups.max(initial=-1)) + 1, estimate)

    def interval(self, num_groups: int, estimate: Callable[[np.ndarray], np.ndarray]) -> Interval:
        found = np.concatenate([estimate(weights) for weights in self._weights(num_groups)])
        tail = (1 - self.level) / 2
        low, high = np.quantile(found, [tail, 1 - tail])
        return float(low), float(high)

    def _weights(self, num_groups: int) -> Iterator[np.ndarray]:
        """float64 [r, g] in blocks: how often each group is drawn."""
        rng = np.random.default_rng(self.seed)
        block = max(1, _BLOCK_BYTES // (8 * max(1, num_groups)))
        for start in range(0, self.num_resamples, block):
            rows = min(block, self.num_resamples - start)
            drawn = rng.integers(0, num_groups, (rows, num_groups))
            drawn += np.arange(rows)[:, None] * num_groups
            counts = np.bincount(drawn.ravel(), minlength=rows * num_groups)
            yield counts.reshape(rows, num_groups).astype(float)
