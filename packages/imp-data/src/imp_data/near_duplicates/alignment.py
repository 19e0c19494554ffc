"""Alignment: the exact check of two patches that collided, after moving one onto the other.

Gauss-Newton on a window's top, left, height and width, in the normalised patches (Lucas and Kanade,
1981; the normalisation makes it blind to brightness and contrast, as in Evangelidis and
Psarakis's ECC, 2008). The hash says roughly which window; a few steps find the rest of a pixel,
without which a sharp drawing hardly correlates with its own crop.
"""

import numpy as np

from imp_data.near_duplicates import dct_hash
from imp_data.near_duplicates.dct_hash import SIZE

# A pair whose correlation is less than this after the step is given up.
_LEAST = np.array([0.7, 0.75, 0.8, 0.87])
# A window that strays further than this from its start is another picture's.
_MAX_MOVE = 0.06
_DAMPING = 1e-3
EDGE = 1
"""Pixels around a patch that no score counts: a window's edge may lie beyond them."""
_BLOCK = 256


def align(
    a: np.ndarray,
    b: np.ndarray,
    left: np.ndarray,
    right: np.ndarray,
    crop: np.ndarray,
    threshold: float,
) -> tuple[np.ndarray, np.ndarray]:
    """The window of each right patch that correlates best with its left patch.

    a, b float32 [m, 32, 32] and [n, 32, 32]; left, right int [p], rows of them; crop int [p], which
    of CROPS to start from. What can't reach `threshold` may be given up early.
    Returns the correlations, float32 [p], -1 to 1, and the windows, float64 [p, 4]: top, left,
    height, width as shares of b.
    """
    least = np.minimum(_LEAST, threshold)
    targets = normalised(a)
    scores = _first_look(targets, b, left, right, crop)
    windows = dct_hash.CROPS[crop][:, [1, 2, 0, 0]]
    going = np.flatnonzero(scores >= least[0])
    for start in range(0, len(going), _BLOCK):
        part = going[start : start + _BLOCK]
        scores[part], windows[part] = _fit(
            targets[left[part]], b[right[part]], windows[part], least
        )
    return scores, windows


def warped(b: np.ndarray, windows: np.ndarray) -> np.ndarray:
    """float32 [p, 32, 32], float64 [p, 4] -> the windows' content, float32 [p, 32, 32]."""
    rows = dct_hash.interpolation(windows[:, 2], windows[:, 0])
    columns = dct_hash.interpolation(windows[:, 3], windows[:, 1])
    return rows @ b @ columns.transpose(0, 2, 1)


def normalised(patches: np.ndarray) -> np.ndarray:
    """Mean 0 and norm 1 within the edge: float32 [p, 30, 30]."""
    centred = _centred(patches)
    norm = np.sqrt(np.einsum("pij,pij->p", centred, centred)) + 1e-6
    return centred / norm[:, None, None]


def _first_look(
    targets: np.ndarray, b: np.ndarray, left: np.ndarray, right: np.ndarray, crop: np.ndarray
) -> np.ndarray:
    """float32 [p]: the correlations at the windows of the crops; most pairs go no further.

    A crop of a patch is computed once, and all of one crop as one product.
    """
    scores = np.empty(len(left), np.float32)
    for number, (scale, top, side) in enumerate(dct_hash.CROPS):
        chosen = np.flatnonzero(crop == number)
        own, which = np.unique(right[chosen], return_inverse=True)
        sides = np.array([scale, scale])
        rows, columns = dct_hash.interpolation(sides, np.array([top, side]))
        # One product of two matrices a side, where a stack of small ones would be slow.
        across = (b[own].reshape(-1, SIZE) @ columns.T).reshape(-1, SIZE, SIZE)
        turned = np.ascontiguousarray(across.transpose(0, 2, 1)).reshape(-1, SIZE)
        seen = normalised((turned @ rows.T).reshape(-1, SIZE, SIZE).transpose(0, 2, 1))
        for start in range(0, len(chosen), _BLOCK):
            part = chosen[start : start + _BLOCK]
            theirs = seen[which[start : start + _BLOCK]]
            scores[part] = np.einsum("pij,pij->p", targets[left[part]], theirs)
    return scores


def _fit(
    target: np.ndarray, b: np.ndarray, first: np.ndarray, least: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    best, best_windows = np.full(len(b), -1.0, np.float32), first.copy()
    windows = first.copy()
    active = np.arange(len(b))
    for step in range(len(least) + 1):
        seen = warped(b[active], windows)
        current = normalised(seen)
        score = np.einsum("pij,pij->p", target[active], current)
        better = score > best[active]
        best[active[better]] = score[better]
        best_windows[active[better]] = windows[better]
        if step == len(least):
            break
        going = score >= least[step]
        active, windows = active[going], windows[going]
        if not len(active):
            break
        error = target[active] - score[going, None, None] * current[going]
        windows = windows + _step(seen[going], error) * windows[:, [2, 3, 2, 3]]
        windows = np.clip(windows, first[active] - _MAX_MOVE, first[active] + _MAX_MOVE)
        windows[:, 2:] = np.clip(windows[:, 2:], 0.5, 1.0)
        windows[:, :2] = np.clip(windows[:, :2], 0.0, 1.0 - windows[:, 2:])
    return best, best_windows


def _step(seen: np.ndarray, error: np.ndarray) -> np.ndarray:
    """Gauss-Newton's move of top, left, height and width, as shares of the window: [p, 4].

    seen float32 [p, 32, 32], the window's content; error float32 [p, 30, 30], of its normalised.
    """
    place = ((np.arange(SIZE) + 0.5) / SIZE)[EDGE:-EDGE].astype(np.float32)
    down = (seen[:, 2:, EDGE:-EDGE] - seen[:, :-2, EDGE:-EDGE]) / 2
    right = (seen[:, EDGE:-EDGE, 2:] - seen[:, EDGE:-EDGE, :-2]) / 2
    slopes = np.stack([down, right, down * place[:, None], right * place], axis=1)
    jacobian = slopes.reshape(len(seen), 4, -1)
    jacobian -= jacobian.mean(axis=2, keepdims=True)
    square = jacobian @ jacobian.transpose(0, 2, 1)
    square += np.eye(4) * (_DAMPING * np.trace(square, axis1=1, axis2=2)[:, None, None] + 1e-6)
    # The slopes are in the window's own units: so must the error be.
    residual = error.reshape(len(seen), -1, 1) * _norm(seen)[:, None, None]
    return np.linalg.solve(square, jacobian @ residual)[:, :, 0] / SIZE


def _centred(patches: np.ndarray) -> np.ndarray:
    inner = patches[:, EDGE:-EDGE, EDGE:-EDGE]
    return inner - inner.mean(axis=(1, 2), keepdims=True)


def _norm(patches: np.ndarray) -> np.ndarray:
    """float32 [p]."""
    centred = _centred(patches)
    return np.sqrt(np.einsum("pij,pij->p", centred, centred)) + 1e-6
