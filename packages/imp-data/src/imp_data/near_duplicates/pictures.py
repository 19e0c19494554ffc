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
# Of the variance of colour that no change of each channel's gain and level explains. Twins in
# other colours, such as two hearts, have more; a picture and its greyscale copy mostly less.
_MAX_UNEXPLAINED = 0.5


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


def similarity(a: Fingerprints, b: Fingerprints, pairs: np.ndarray) -> np.ndarray:
    """int64 [p, 4]: rows of a and b, and the variants that collided -> float32 [p], -1 to 1.

    The correlation of the greys once aligned; 0 where the colours contradict it.
    """
    scores = np.empty(len(pairs), np.float32)
    for start in range(0, len(pairs), _BLOCK):
        part = slice(start, start + _BLOCK)
        left, right, query, crop = pairs[part].T
        first, second = a.detail[a.place[left]], b.detail[b.place[right]]
        score, windows = alignment.similarity(_grey(first), _grey(second), query, crop)
        unexplained = _unexplained(first, second, query, windows)
        scores[part] = np.where(unexplained <= _MAX_UNEXPLAINED, score, 0)
    return scores


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


def _unexplained(
    a: np.ndarray, b: np.ndarray, query: np.ndarray, windows: np.ndarray
) -> np.ndarray:
    """Share of the channels' variance left when each is fitted by gain and level: [p]."""
    a = np.where((query == 1)[:, None, None, None], a[:, :, ::-1], a).astype(np.float32)
    left, total = np.zeros(len(a)), np.full(len(a), 1e-6)
    for channel in range(3):
        x, y = a[..., channel], alignment.warped(b[..., channel].astype(np.float32), windows)
        x, y = x - x.mean(axis=(1, 2), keepdims=True), y - y.mean(axis=(1, 2), keepdims=True)
        xx, yy, xy = ((u * v).sum(axis=(1, 2)) for u, v in ((x, x), (y, y), (x, y)))
        explained = np.square(np.maximum(xy, 0)) / (xx * yy + 1e-6)
        left += (1 - explained) * (xx + yy)
        total += xx + yy
    return left / total
