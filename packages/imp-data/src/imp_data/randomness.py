"""Randomness that is a pure function of its key: no state, so that any step can be drawn first."""

import numpy as np

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_UNIT = 2.0**-53


def mix(keys: np.ndarray, word: int) -> np.ndarray:
    """uint64 [b] and a word -> well spread uint64 [b] (splitmix64's finaliser)."""
    word64 = np.uint64(word & 0xFFFFFFFFFFFFFFFF)
    with np.errstate(over="ignore"):
        z = (keys ^ (word64 * _GOLDEN + np.uint64(0x632BE59BD9B4E019))) + _GOLDEN
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def keys(seed: int, positions: np.ndarray) -> np.ndarray:
    """One key for each position of a stream: int64 [b] -> uint64 [b]."""
    return mix(mix(positions.astype(np.uint64), 1), seed)


def uniform(keys: np.ndarray, stream: int) -> np.ndarray:
    """float64 [b] within [0, 1); different streams of one key are independent."""
    return (mix(keys, stream) >> np.uint64(11)).astype(np.float64) * _UNIT


def below(keys: np.ndarray, stream: int, bounds: np.ndarray) -> np.ndarray:
    """int64 [b], each within 0 .. bounds - 1."""
    return np.minimum((uniform(keys, stream) * bounds).astype(np.int64), bounds - 1)
