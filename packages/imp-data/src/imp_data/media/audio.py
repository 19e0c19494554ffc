"""Audio: mono samples -> log-mel float32 [frames, mels].

The filters are those of `tf.signal.linear_to_mel_weight_matrix`: the HTK mel scale, triangles
straight on that scale, peak 1. Periodic Hann window, frames not centred, power spectrogram.
"""

import functools
from collections.abc import Sequence

import numpy as np
import soxr

from imp_data.media import sound
from imp_data.media.limits import DEFAULT_LIMITS, Limits
from imp_data.views import AudioView

_FLOOR = 1e-6
# Resampling looks this far past what is kept.
_RESAMPLE_MARGIN_SECONDS = 0.1


def load_many(
    data: bytes,
    views: Sequence[AudioView],
    *,
    limits: Limits = DEFAULT_LIMITS,
    start: float = 0.0,
    end: float | None = None,
) -> dict[str, np.ndarray]:
    """Decodes once: view.key -> log-mel float32 [frames, mels], between `start` and `end` seconds.

    What is shorter is padded with silence. Also reads a video's audio track. Raises MediaError as
    `sound.decode` does.
    """
    seconds = max(_seconds(view) for view in views)
    if end is not None:
        seconds = min(seconds, end - start)
    samples, rate = sound.decode(data, limits=limits, start=start, seconds=seconds)
    return {view.key: log_mel(resample(samples, rate, view), view) for view in views}


def _seconds(view: AudioView) -> float:
    """The sound that a view needs."""
    needed = (view.frames - 1) * view.hop + view.window
    return needed / view.sample_rate + _RESAMPLE_MARGIN_SECONDS


def resample(samples: np.ndarray, rate: int, view: AudioView) -> np.ndarray:
    """As many samples at the view's rate as its frames need, or fewer: float32 [n]."""
    needed = (view.frames - 1) * view.hop + view.window
    samples = samples[: int(np.ceil(_seconds(view) * rate))]
    if rate != view.sample_rate:
        samples = soxr.resample(samples, rate, view.sample_rate)
    return samples[:needed]


def log_mel(waveform: np.ndarray, view: AudioView) -> np.ndarray:
    """log(mel power + 1e-6) of float32 [n] at the view's rate: float32 [frames, mels].

    Longer waveforms are cut, shorter ones padded with silence.
    """
    kept = waveform[: (view.frames - 1) * view.hop + view.window]
    # The frames that begin before the sound ends; those after it need no transform.
    num_heard = min(view.frames, max(1, -(-len(kept) // view.hop)))
    padded = np.zeros((num_heard - 1) * view.hop + view.window, np.float32)
    padded[: len(kept)] = kept[: len(padded)]
    frames = np.lib.stride_tricks.sliding_window_view(padded, view.window)[:: view.hop]
    spectrum = np.fft.rfft(frames * _hann(view.window), axis=-1)
    power = np.square(spectrum.real) + np.square(spectrum.imag)
    weights = mel_filters(view.num_mels, view.window, view.sample_rate, view.fmin, view.fmax)
    mel = np.zeros((view.frames, view.num_mels), np.float32)
    mel[:num_heard] = _banded(power, *_bands(weights.tobytes(), weights.shape))
    return np.log(mel + np.float32(_FLOOR))


@functools.cache
def _hann(window: int) -> np.ndarray:
    """Periodic Hann window, float32 [window]."""
    return (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)).astype(np.float32)


@functools.cache
def mel_filters(
    num_mels: int, window: int, sample_rate: int, fmin: float, fmax: float
) -> np.ndarray:
    """Weights from power bins to mel bands, float32 [window // 2 + 1, mels]; none for DC."""
    bins = _mel(np.arange(window // 2 + 1) * sample_rate / window)[:, None]
    lowest, highest = _mel(np.array([fmin, fmax]))
    edges = np.linspace(lowest, highest, num_mels + 2)
    lower, centre, upper = edges[:-2], edges[1:-1], edges[2:]
    rising = (bins - lower) / (centre - lower)
    falling = (upper - bins) / (upper - centre)
    weights = np.maximum(0.0, np.minimum(rising, falling))
    weights[0] = 0.0
    return weights.astype(np.float32)


@functools.cache
def _bands(weights: bytes, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The filters without their zeros: all bands' bins and weights, and where each band starts.

    A dense product does 60 times the work and wakes a pool of BLAS threads for it.
    """
    dense = np.frombuffer(weights, np.float32).reshape(shape)
    bins, starts = [], []
    count = 0
    for band in dense.T:
        # A band narrower than a bin has no weight; one zero keeps its place.
        used = np.flatnonzero(band) if band.any() else np.zeros(1, np.int64)
        starts.append(count)
        bins.append(used)
        count += len(used)
    flat = np.concatenate(bins)
    bands = np.repeat(np.arange(shape[1]), np.diff([*starts, count]))
    return flat, dense[flat, bands], np.array(starts)


def _banded(
    power: np.ndarray, bins: np.ndarray, weights: np.ndarray, starts: np.ndarray
) -> np.ndarray:
    """float32 [frames, bins] -> float32 [frames, mels]."""
    return np.add.reduceat(power[:, bins] * weights, starts, axis=1)


def _mel(hertz: np.ndarray) -> np.ndarray:
    return 1127.0 * np.log1p(hertz / 700.0)
