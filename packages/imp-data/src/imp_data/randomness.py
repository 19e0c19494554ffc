"""Randomness that is a pure function of its key: no state, so that any step can be drawn first."""

import functools

import numpy as np

_GOLDEN = 0x9E3779B97F4A7C15
# Arrays without a dimension, made once: a batch is small, and its order takes hundreds of mixes.
_ADDEND, _FIRST, _SECOND, _S30, _S27, _S31 = (
    np.array(value, np.uint64)
    for value in (_GOLDEN, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB, 30, 27, 31)
)
_UNIT = 2.0**-53


def mix(keys: np.ndarray, word: int) -> np.ndarray:
    """uint64 [b] and a word -> well spread uint64 [b] (splitmix64's finaliser)."""
    z = keys ^ _offset(word)
    z += _ADDEND
    z ^= z >> _S30
    z *= _FIRST
    z ^= z >> _S27
    z *= _SECOND
    z ^= z >> _S31
    return z


@functools.lru_cache
def _offset(word: int) -> np.ndarray:
    return np.array((word * _GOLDEN + 0x632BE59BD9B4E019) & 0xFFFFFFFFFFFFFFFF, np.uint64)


def keys(seed: int, positions: np.ndarray) -> np.ndarray:
    """One key for each position of a stream: int64 [b] -> uint64 [b]."""
    return mix(mix(positions.astype(np.uint64), 1), seed)


def uniform(keys: np.ndarray, stream: int) -> np.ndarray:
    """float64 [b] within [0, 1); different streams of one key are independent."""
    return (mix(keys, stream) >> np.uint64(11)).astype(np.float64) * _UNIT


def below(keys: np.ndarray, stream: int, bounds: np.ndarray) -> np.ndarray:
    """int64 [b], each within 0 .. bounds - 1."""
    return np.minimum((uniform(keys, stream) * bounds).astype(np.int64), bounds - 1)


def of_rows(rows: np.ndarray) -> np.ndarray:
    """int [b, n] -> uint64 [b]: equal where rows are, else as good as never."""
    found = np.zeros(len(rows), np.uint64)
    for column in rows.T:
        found = mix(found ^ column.astype(np.uint64), 1)
    return found
