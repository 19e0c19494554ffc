"""DCT hash: a small grey patch -> 63 bits that survive what is done to pictures on their way.

Bit k says whether coefficient k of the lowest 8 x 8 of the patch's DCT-II is clearly positive; the
constant one is left out. (Zauner, "Implementation and Benchmarking of Perceptual Image Hash
Functions", 2010, thresholds at the median; signs need none, as these coefficients centre on 0.)

A crop or a mirror image moves most bits, so that one side of a comparison is hashed as what it
could have become. `queries` are a patch and its mirror image; `crops` are the windows of a patch
that a crop could have kept. Each window is a linear map of rows and columns: it is folded into the
DCT's matrix, and costs what the plain hash costs.
"""

import functools

import numpy as np

SIZE = 32
NUM_BITS = 63
# A query and an index hash further apart than this are not looked at again.
MAX_DISTANCE = 10
_FREQUENCIES = 8
# Half of a symmetric drawing's coefficients are 0: noise must not decide their sign.
_DEAD_ZONE = 0.01
# Kept share of each side, and the places of a window among those possible, 0 to 1.
_WINDOWS: tuple[tuple[float, tuple[float, ...]], ...] = (
    (1.0, (0.0,)),
    (0.95, (0.5,)),
    (0.9, (0.0, 0.5, 1.0)),
    (0.85, (0.5,)),
)
CROPS = np.array(
    [
        (scale, (1 - scale) * y, (1 - scale) * x)
        for scale, places in _WINDOWS
        for y in places
        for x in places
    ]
)
"""float64 [c, 3]: each window's side, top and left as shares of the patch; the first is all."""
QUERIES = 2
"""As it is, and mirrored."""


def queries(patches: np.ndarray) -> np.ndarray:
    """float32 [m, 32, 32] -> uint64 [m, 2]."""
    plain = _basis(1.0, 0.0)
    mirrored = plain[:, ::-1]
    return np.stack([_bits(patches, plain, plain), _bits(patches, plain, mirrored)], axis=1)


def crops(patches: np.ndarray) -> np.ndarray:
    """float32 [m, 32, 32] -> uint64 [m, c], in the order of CROPS."""
    hashes = [_bits(patches, _basis(s, top), _basis(s, left)) for s, top, left in CROPS.tolist()]
    return np.stack(hashes, axis=1)


def plain(patches: np.ndarray) -> np.ndarray:
    """float32 [m, 32, 32] -> uint64 [m], of the patches as they are."""
    return _bits(patches, _basis(1.0, 0.0), _basis(1.0, 0.0))


def distance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Bits that differ: uint64 [p], uint64 [p] -> uint8 [p]."""
    return np.bitwise_count(a ^ b)


def interpolation(scale: np.ndarray, start: np.ndarray) -> np.ndarray:
    """float [p] sides and starts of windows, as shares -> linear maps float32 [p, 32, 32].

    Row i of a map reads the patch where pixel i of the window lies; beyond the edge, the edge.
    """
    centres = start[:, None] * SIZE + scale[:, None] * (np.arange(SIZE) + 0.5) - 0.5
    inside = np.clip(centres, 0, SIZE - 1).astype(np.float32)
    share = inside[:, :, None] - np.arange(SIZE, dtype=np.float32)
    np.abs(share, out=share)
    np.subtract(1, share, out=share)
    return np.maximum(share, 0, out=share)


@functools.cache
def _basis(scale: float, start: float) -> np.ndarray:
    """The lowest frequencies of a window: float32 [8, 32]."""
    position = (np.arange(SIZE) + 0.5) * np.pi / SIZE
    cosines = np.cos(position * np.arange(_FREQUENCIES)[:, None])
    return (cosines @ interpolation(np.array([scale]), np.array([start]))[0]).astype(np.float32)


def _bits(patches: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """uint64 [m]."""
    coefficients = (rows @ patches @ columns.T).reshape(-1, NUM_BITS + 1)[:, 1:]
    norm = np.sqrt(np.square(coefficients).sum(axis=1, keepdims=True))
    positive = coefficients > _DEAD_ZONE * norm
    weights = np.uint64(1) << np.arange(NUM_BITS, dtype=np.uint64)
    return np.where(positive, weights, np.uint64(0)).sum(axis=1, dtype=np.uint64)
