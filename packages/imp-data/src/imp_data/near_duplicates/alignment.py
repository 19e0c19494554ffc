"""Alignment: the exact check of two patches that collided, after moving one onto the other.

Gauss-Newton on a window's top, left, height and width, in the normalised patches (Lucas and Kanade,
1981; the normalisation makes it blind to brightness and contrast, as in Evangelidis and
Psarakis's ECC, 2008). The hash says roughly which window; a few steps find the rest of a pixel,
without which a sharp drawing hardly correlates with its own crop.
"""

import numpy as np

from imp_data.near_duplicates import dct_hash
from imp_data.near_duplicates.dct_hash import SIZE

_STEPS = 4
# A window that strays further than this from its start is another picture's.
_MAX_MOVE = 0.06
_DAMPING = 1e-3
_EDGE = 1
_BLOCK = 2048


def similarity(
    a: np.ndarray, b: np.ndarray, query: np.ndarray, crop: np.ndarray, *, move_columns: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    """Correlation of each patch of `a` with the best window of its patch of `b`, -1 to 1.

    a, b float32 [p, 32, 32]; query, crop int [p], the variants whose hashes collided. Returns
    float32 [p] and the windows float64 [p, 4]: top, left, height, width as shares of b.
    `move_columns=False` lets rows move only.
    """
    scores = np.empty(len(a), np.float32)
    windows = np.empty((len(a), 4))
    for start in range(0, len(a), _BLOCK):
        part = slice(start, start + _BLOCK)
        mirrored = query[part, None, None] == 1
        left = np.where(mirrored, a[part, :, ::-1], a[part])
        window = dct_hash.CROPS[crop[part]][:, [1, 2, 0, 0]]
        scores[part], windows[part] = _fit(left, b[part], window, move_columns)
    return scores, windows


def warped(b: np.ndarray, windows: np.ndarray) -> np.ndarray:
    """float32 [p, 32, 32], float64 [p, 4] -> the windows' content, float32 [p, 32, 32]."""
    rows = dct_hash.interpolation(windows[:, 2], windows[:, 0])
    columns = dct_hash.interpolation(windows[:, 3], windows[:, 1])
    return rows @ b @ columns.transpose(0, 2, 1)


def _fit(
    a: np.ndarray, b: np.ndarray, first: np.ndarray, move_columns: bool
) -> tuple[np.ndarray, np.ndarray]:
    target = _normalised(a)
    windows = first.copy()
    best, best_windows = np.full(len(a), -1.0, np.float32), first.copy()
    place = ((np.arange(SIZE) + 0.5) / SIZE)[_EDGE:-_EDGE].astype(np.float32)
    for step in range(_STEPS + 1):
        seen = warped(b, windows)
        current = _normalised(seen)
        score = (target * current).sum(axis=(1, 2))
        better = score > best
        best = np.where(better, score, best)
        best_windows = np.where(better[:, None], windows, best_windows)
        if step == _STEPS:
            break
        down, right = np.gradient(seen, axis=(1, 2))
        down, right = down[:, _EDGE:-_EDGE, _EDGE:-_EDGE], right[:, _EDGE:-_EDGE, _EDGE:-_EDGE]
        slopes = [down, right, down * place[:, None], right * place]
        jacobian = np.stack(slopes, axis=-1).reshape(len(a), -1, 4)
        jacobian -= jacobian.mean(axis=1, keepdims=True)
        if not move_columns:
            jacobian[:, :, 1::2] = 0
        # The residual is in the warped patch's own units: the target is scaled to it.
        spread = _spread(seen)[:, None]
        error = spread * (target - score[:, None, None] * current).reshape(len(a), -1)
        square = jacobian.transpose(0, 2, 1) @ jacobian
        square += np.eye(4) * (_DAMPING * np.trace(square, axis1=1, axis2=2)[:, None, None] + 1e-6)
        move = np.linalg.solve(square, jacobian.transpose(0, 2, 1) @ error[:, :, None])[:, :, 0]
        # A step is in pixels of the window; the window's extent is in shares of the patch.
        move = move / SIZE * windows[:, [2, 3, 2, 3]]
        windows = np.clip(windows + move, first - _MAX_MOVE, first + _MAX_MOVE)
        windows[:, 2:] = np.clip(windows[:, 2:], 0.5, 1.0)
        windows[:, :2] = np.clip(windows[:, :2], 0.0, 1.0 - windows[:, 2:])
    return best, best_windows


def _inner(patches: np.ndarray) -> np.ndarray:
    return patches[:, _EDGE:-_EDGE, _EDGE:-_EDGE]


def _spread(patches: np.ndarray) -> np.ndarray:
    """float32 [p]: the norm that `_normalised` takes out."""
    inner = _inner(patches)
    centred = inner - inner.mean(axis=(1, 2), keepdims=True)
    return np.sqrt(np.square(centred).sum(axis=(1, 2))) + 1e-6


def _normalised(patches: np.ndarray) -> np.ndarray:
    """Mean 0 and norm 1 within the edge: float32 [p, 30, 30]."""
    inner = _inner(patches)
    centred = inner - inner.mean(axis=(1, 2), keepdims=True)
    return centred / (np.sqrt(np.square(centred).sum(axis=(1, 2), keepdims=True)) + 1e-6)
