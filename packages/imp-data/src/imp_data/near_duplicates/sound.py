"""Sound: a recording's log-mel spectrogram -> windows to compare, and the exact check of two.

A row is a window of two seconds, one each half second; its hash is the DCT hash of the window's
spectrogram as a picture, mel bands by time. Another cut of the recording starts at any frame, so a
row is indexed at each of the frames up to the next row.

The check correlates slopes along frequency: loudness and a gentle equaliser leave them, while
another note moves the harmonics. (Haitsma and Kalker, "A Highly Robust Audio Fingerprinting
System", ISMIR 2002, hash the signs of such differences; of sustained notes those in time are
noise.)
"""

import numpy as np

from imp_data.near_duplicates import dct_hash
from imp_data.near_duplicates.dct_hash import SIZE
from imp_data.near_duplicates.fingerprints import Fingerprints
from imp_data.views import AudioView

_MAX_SECONDS = 64.0
# The shapes of the default views, so that a built dataset's spectrograms can be compared as well.
VIEW = AudioView(frames=int(_MAX_SECONDS * 16_000 / 1_024))
_STRIDE = 8
_FRAMES = SIZE + _STRIDE
# What is this much quieter than the loudest band, in nats of power, is silence: 40 dB.
RANGE = 9.2
_LOUD = 0.05
_BLOCK = 1024


def of_spectrogram(log_mel: np.ndarray) -> Fingerprints:
    """float32 [frames, 128], the padding at its end included; no rows where all is silent."""
    levels = np.clip((log_mel - log_mel.max()) / RANGE + 1, 0, 1)
    heard = np.flatnonzero(levels.max(axis=1) > _LOUD)
    silent = log_mel.max() - log_mel.min() < _LOUD * RANGE
    if silent:
        heard = heard[:0]
    length = int(heard[-1]) + 1 if len(heard) else 0
    starts = np.arange(0, max(length - SIZE + _STRIDE, 1), _STRIDE)[: None if length else 0]
    padded = np.zeros((len(starts) * _STRIDE + _FRAMES, VIEW.num_mels), np.float32)
    padded[: min(length, len(padded))] = levels[: len(padded)][:length]
    bands = padded.reshape(len(padded), SIZE, -1).mean(axis=2)
    windows = np.lib.stride_tricks.sliding_window_view(bands, SIZE, axis=0).transpose(0, 2, 1)
    hashes = dct_hash.plain(windows)
    return Fingerprints.of_item(
        hashes[starts][:, None],
        hashes[starts[:, None] + np.arange(_STRIDE)],
        np.rint(padded * 255).astype(np.uint8),
        place=starts,
    )


def similarity(a: Fingerprints, b: Fingerprints, pairs: np.ndarray, threshold: float) -> np.ndarray:
    """int64 [p, 4]: rows of a and b, 0, and the frames to go on in b -> float32 [p], -1 to 1."""
    scores = np.empty(len(pairs), np.float32)
    for start in range(0, len(pairs), _BLOCK):
        left, right, _, later = pairs[start : start + _BLOCK].T
        x = _slopes(a.detail, a.place[left])
        y = _slopes(b.detail, b.place[right] + later)
        norms = np.sqrt(np.square(x).sum(axis=(1, 2)) * np.square(y).sum(axis=(1, 2)))
        scores[start : start + _BLOCK] = (x * y).sum(axis=(1, 2)) / (norms + 1e-6)
    return scores


def _slopes(detail: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """int64 [p] -> float32 [p, 32, 127]: how the level changes from band to band."""
    windows = detail[starts[:, None] + np.arange(SIZE)].astype(np.float32)
    return np.diff(windows, axis=2)
