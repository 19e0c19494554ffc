"""Pictures: images and video frames -> rows to compare, and the exact check of two such rows.

A row is a smoothed patch of 32 x 32 in colour, of which the hash sees the grey. A picture that is
not square has two: its centre square, and the whole of it squeezed into a square, as some resize.
"""

import numpy as np
from PIL import Image

from imp_data.near_duplicates import alignment, dct_hash
from imp_data.near_duplicates.dct_hash import SIZE
from imp_data.near_duplicates.fingerprints import Fingerprints

_WEIGHTS = np.array([0.299, 0.587, 0.114], np.float32)
# A patch of less contrast, in levels of 255, is blank: its hash would be noise.
_MIN_DEVIATION = 1.5
_SQUARE_WITHIN = 0.02
_BLOCK = 4096
_PART = 6
_GAIN = 1.6
# Distance of the channels of any pixel, in levels of 255.
_COLOURLESS = 8.0


def of_picture(picture: Image.Image) -> Fingerprints:
    """An RGB picture's one or two rows; none where it is blank."""
    width, height = picture.size
    side = min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    boxes = [(left, top, left + side, top + side)]
    if max(width, height) > side * (1 + _SQUARE_WITHIN):
        boxes.append((0, 0, width, height))
    return of_patches(np.stack([_patch(picture, box) for box in boxes]))


def of_frames(frames: np.ndarray) -> Fingerprints:
    """uint8 [t, size, size, 3], one row a frame but for blank ones and repetitions."""
    patches: list[np.ndarray] = []
    previous: np.ndarray | None = None
    for frame in frames:
        if previous is None or not np.array_equal(frame, previous):
            size = frame.shape[0]
            patches.append(_patch(Image.fromarray(frame), (0, 0, size, size)))
        previous = frame
    return of_patches(np.stack(patches))


def of_patches(patches: np.ndarray) -> Fingerprints:
    """float32 [m, 32, 32, 3] RGB of 0 to 255 -> the rows of those that aren't blank."""
    smooth = np.rint(_smooth(patches)).astype(np.uint8)
    grey = _grey(smooth)
    kept = grey.std(axis=(1, 2)) >= _MIN_DEVIATION
    return Fingerprints.of_item(
        dct_hash.queries(grey[kept]), dct_hash.crops(grey[kept]), smooth[kept]
    )


def similarity(a: Fingerprints, b: Fingerprints, pairs: np.ndarray, threshold: float) -> np.ndarray:
    """int64 [p, 4]: rows of a and b, and the variants that collided -> float32 [p], 0 to 1.

    The least of three: the correlation of the greys once aligned; how well the worst part of them
    agrees, which tells drawings that differ in one detail; and how well the colours agree. Of
    several variants of the same rows the one whose hashes are nearest counts, the others are 0.
    What one score puts below the threshold is not asked for the others.
    """
    left, right, query, crop = pairs.T
    far = dct_hash.distance(a.query[left, query], b.index[right, crop])
    order = np.lexsort((crop, query, far, right, left))
    first = np.ones(len(order), bool)
    first[1:] = (pairs[order[1:], :2] != pairs[order[:-1], :2]).any(axis=1)
    chosen = order[first]
    scores = np.zeros(len(pairs), np.float32)
    for start in range(0, len(chosen), _BLOCK):
        part = chosen[start : start + _BLOCK]
        # A row is in many pairs: what is its own is computed once.
        rows, first = np.unique(
            np.stack([a.place[left[part]], query[part]]), axis=1, return_inverse=True
        )
        ours = a.detail[rows[0]]
        mirrored = rows[1] == 1
        ours[mirrored] = ours[mirrored, :, ::-1]
        rows, second = np.unique(b.place[right[part]], return_inverse=True)
        scores[part] = _compare(ours, b.detail[rows], first, second, crop[part], threshold)
    return scores


def _compare(
    a: np.ndarray,
    b: np.ndarray,
    left: np.ndarray,
    right: np.ndarray,
    crop: np.ndarray,
    threshold: float,
) -> np.ndarray:
    """uint8 [m, 32, 32, 3] and [n, 32, 32, 3], rows of each and variants -> float32 [p]."""
    grey_a, grey_b = _grey(a), _grey(b)
    scores, windows = alignment.align(grey_a, grey_b, left, right, crop, threshold)
    near = np.flatnonzero(scores >= threshold)
    grey = alignment.warped(grey_b[right[near]], windows[near])
    scores[near] = np.minimum(scores[near], 1 - _worst_part(grey_a[left[near]], grey) / 8)
    near = near[scores[near] >= threshold]
    ours = a[left[near]].astype(np.float32)
    theirs = b[right[near]].astype(np.float32)
    theirs = np.stack(
        [alignment.warped(theirs[..., c], windows[near]) for c in range(3)],
        axis=-1,
    )
    scores[near] = np.minimum(scores[near], 1 - _unlike_colours(ours, theirs) / 3)
    return np.maximum(scores, 0)


def _patch(picture: Image.Image, box: tuple[float, float, float, float]) -> np.ndarray:
    """float32 [32, 32, 3]: the box squeezed into a square, antialiased."""
    small = picture.resize((SIZE, SIZE), Image.Resampling.HAMMING, box=box)
    return np.asarray(small, np.float32)


def _smooth(patches: np.ndarray) -> np.ndarray:
    """A binomial blur: what is finer than a pixel of ours would not survive a crop."""
    padded = np.pad(patches, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
    rows = (padded[:, 2:] + 2 * padded[:, 1:-1] + padded[:, :-2]) / 4
    return (rows[:, :, 2:] + 2 * rows[:, :, 1:-1] + rows[:, :, :-2]) / 4


def _grey(patches: np.ndarray) -> np.ndarray:
    """uint8 [p, 32, 32, 3] -> float32 [p, 32, 32]."""
    return patches.astype(np.float32) @ _WEIGHTS


def _worst_part(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Greys -> float32 [p]: the mean square difference, normalised, where it is largest.

    In units of their variance, over parts of a fifth of the side. 2 is no relation, 4 the contrary.
    """
    squares = np.square(alignment.normalised(a) - alignment.normalised(b)) * np.float32(
        (SIZE - 2 * alignment.EDGE) ** 2
    )
    parts = np.lib.stride_tricks.sliding_window_view(squares, (_PART, _PART), axis=(1, 2))
    return parts[:, :: _PART // 2, :: _PART // 2].mean(axis=(3, 4)).max(axis=(1, 2))


def _unlike_colours(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """float32 [p]: share of b's variance left when a's channels are fitted by gain and level.

    The gains may differ from the greys' by _GAIN at most: a shift of colours does no more, while
    twins in other colours, such as two hearts, need it. 0 where either picture is grey.
    """
    grey = _deviation(b @ _WEIGHTS) / (_deviation(a @ _WEIGHTS) + 1e-6)
    left, total = np.zeros(len(a), np.float32), np.full(len(a), 1e-6, np.float32)
    for channel in range(3):
        x, y = a[..., channel], b[..., channel]
        x, y = x - x.mean(axis=(1, 2), keepdims=True), y - y.mean(axis=(1, 2), keepdims=True)
        xx, yy, xy = ((u * v).sum(axis=(1, 2)) for u, v in ((x, x), (y, y), (x, y)))
        gain = np.clip(xy / (xx + 1e-6), grey / _GAIN, grey * _GAIN)
        left += yy - 2 * gain * xy + gain**2 * xx
        total += yy
    return np.where(_colourless(a) | _colourless(b), 0, left / total)


def _deviation(greys: np.ndarray) -> np.ndarray:
    return greys.std(axis=(1, 2))


def _colourless(patches: np.ndarray) -> np.ndarray:
    """bool [p]: the channels are equal but for what an encoder does."""
    return (patches.max(axis=3) - patches.min(axis=3)).max(axis=(1, 2)) < _COLOURLESS
