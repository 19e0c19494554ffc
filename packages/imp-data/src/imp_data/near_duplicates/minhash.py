"""MinHash: captions -> rows to compare, and the Jaccard similarity of two of them.

A caption is the set of its shingles, four letters each, of its words in lower case without marks. A
hash joins four minima of the set under independent orders, so that two captions share it with the
fourth power of their Jaccard similarity (Broder, "On the resemblance and containment of documents",
1997). The check counts on the 256 smallest shingles: exact for a caption, an estimate for a page.
"""

import unicodedata
from collections.abc import Sequence

import numpy as np

from imp_data import randomness
from imp_data.near_duplicates.fingerprints import Fingerprints

NUM_BANDS = 24
_ROWS = 4
_SHINGLE = 4
_SKETCH = 256
_EMPTY = np.uint64(2**64 - 1)


def of_texts(texts: Sequence[str]) -> Fingerprints:
    """One row a text that holds a letter or a digit."""
    sketches, bands = [], []
    for text in texts:
        shingles = _shingles(text)
        if not len(shingles):
            continue
        sketch = np.full(_SKETCH, _EMPTY)
        smallest = shingles[:_SKETCH]
        sketch[: len(smallest)] = smallest
        sketches.append(sketch)
        bands.append(_bands(shingles))
    detail = np.array(sketches, np.uint64).reshape(-1, _SKETCH)
    hashes = np.array(bands, np.uint64).reshape(-1, NUM_BANDS)
    return Fingerprints.of_item(hashes, hashes, detail)


def similarity(a: Fingerprints, b: Fingerprints, pairs: np.ndarray, threshold: float) -> np.ndarray:
    """int64 [p, 4]: rows of a and b in the first columns -> Jaccard similarity, float32 [p]."""
    scores = np.empty(len(pairs), np.float32)
    for number, (left, right) in enumerate(pairs[:, :2]):
        scores[number] = _jaccard(a.detail[a.place[left]], b.detail[b.place[right]])
    return scores


def normalise(text: str) -> str:
    """Lower case, marks and punctuation as spaces, single spaces."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join("".join(c if c.isalnum() else " " for c in folded).split())


def _shingles(text: str) -> np.ndarray:
    """Sorted distinct uint64 hashes of each four letters; a shorter text is one shingle."""
    words = normalise(text)
    if not words:
        return np.zeros(0, np.uint64)
    letters = np.frombuffer(f" {words} ".encode("utf-32-le"), np.uint32).astype(np.uint64)
    size = min(_SHINGLE, len(letters))
    windows = np.lib.stride_tricks.sliding_window_view(letters, size)
    hashes = np.zeros(len(windows), np.uint64)
    for column in windows.T:
        hashes = randomness.mix(hashes ^ column, size)
    return np.unique(hashes)


def _bands(shingles: np.ndarray) -> np.ndarray:
    """uint64 [s] -> uint64 [24]."""
    minima = [randomness.mix(shingles, order).min() for order in range(1, NUM_BANDS * _ROWS + 1)]
    bands = np.array(minima, np.uint64).reshape(NUM_BANDS, _ROWS)
    keys = np.zeros(NUM_BANDS, np.uint64)
    for column in bands.T:
        keys = randomness.mix(keys ^ column, 0)
    return keys


def _jaccard(a: np.ndarray, b: np.ndarray) -> float:
    """Of two sketches: the share of the union's smallest that both hold."""
    a, b = a[a != _EMPTY], b[b != _EMPTY]
    union = np.union1d(a, b)
    if max(len(a), len(b)) == _SKETCH:
        union = union[:_SKETCH]
    shared = np.isin(union, a, assume_unique=True) & np.isin(union, b, assume_unique=True)
    return float(shared.mean())
