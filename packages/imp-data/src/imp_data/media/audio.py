"""Audio: encoded bytes -> mono samples -> log-mel float32 [frames, mels].

The filters are those of `tf.signal.linear_to_mel_weight_matrix`: the HTK mel scale, triangles
straight on that scale, peak 1. Periodic Hann window, frames not centred, power spectrogram.
"""

import functools
import io
import struct
from collections.abc import Sequence

import av
import numpy as np
import soundfile
import soxr

from imp_data.media import video
from imp_data.media.limits import DEFAULT_LIMITS, Limits, MediaError
from imp_data.views import AudioView

_FLOOR = 1e-6
_MISSING_SECONDS = 0.1
# Resampling looks this far past what is kept.
_RESAMPLE_MARGIN_SECONDS = 0.1


def load_many(
    data: bytes,
    views: Sequence[AudioView],
    *,
    limits: Limits = DEFAULT_LIMITS,
    start: float = 0.0,
) -> dict[str, np.ndarray]:
    """Decodes once: view.key -> log-mel float32 [frames, mels], from `start` seconds on.

    Also reads a video's audio track. Raises MediaError for a broken file or one cut short, one
    without audio, samples that are no numbers, and a `start` at or past the end.
    """
    samples, rate = decode(data, limits=limits)
    if start * rate >= len(samples):
        raise MediaError(f"start {start:g} s is past the end, {len(samples) / rate:.2f} s")
    samples = samples[round(start * rate) :]
    return {view.key: log_mel(resample(samples, rate, view), view) for view in views}


def decode(data: bytes, *, limits: Limits = DEFAULT_LIMITS) -> tuple[np.ndarray, int]:
    """Mono float32 [n] within about -1..1, and the sample rate in Hz. Raises MediaError."""
    limits.check_bytes(data)
    _check_whole(data)
    try:
        samples, rate = _decode_soundfile(data, limits)
    except soundfile.LibsndfileError:
        samples, rate = _decode_av(data, limits)
    if not len(samples):
        raise MediaError("has no audio samples")
    if not np.isfinite(samples).all():
        raise MediaError("has samples that are not numbers (NaN or infinity)")
    return samples, rate


def resample(samples: np.ndarray, rate: int, view: AudioView) -> np.ndarray:
    """As many samples at the view's rate as its frames need, or fewer: float32 [n]."""
    needed = (view.frames - 1) * view.hop + view.window
    seconds = needed / view.sample_rate + _RESAMPLE_MARGIN_SECONDS
    samples = samples[: int(np.ceil(seconds * rate))]
    if rate != view.sample_rate:
        samples = soxr.resample(samples, rate, view.sample_rate)
    return samples[:needed]


def log_mel(waveform: np.ndarray, view: AudioView) -> np.ndarray:
    """log(mel power + 1e-6) of float32 [n] at the view's rate: float32 [frames, mels].

    Longer waveforms are cut, shorter ones padded with silence.
    """
    needed = (view.frames - 1) * view.hop + view.window
    padded = np.zeros(needed, np.float32)
    kept = waveform[:needed]
    padded[: len(kept)] = kept
    frames = np.lib.stride_tricks.sliding_window_view(padded, view.window)[:: view.hop]
    spectrum = np.fft.rfft(frames * _hann(view.window), axis=-1)
    power = np.square(spectrum.real) + np.square(spectrum.imag)
    weights = mel_filters(view.num_mels, view.window, view.sample_rate, view.fmin, view.fmax)
    mel = _banded(power, *_bands(weights.tobytes(), weights.shape))
    return np.log(mel + np.float32(_FLOOR)).astype(np.float32, copy=False)


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


def _decode_soundfile(data: bytes, limits: Limits) -> tuple[np.ndarray, int]:
    with soundfile.SoundFile(io.BytesIO(data)) as file:
        limits.check_seconds(file.frames / file.samplerate)
        samples = file.read(dtype="float32", always_2d=True)
        if (file.frames - len(samples)) / file.samplerate > _MISSING_SECONDS:
            raise MediaError(
                f"holds {len(samples)} of {file.frames} samples: the file is cut short"
            )
        return _mono(samples), file.samplerate


def _decode_av(data: bytes, limits: Limits) -> tuple[np.ndarray, int]:
    """The first audio track of a container that libsndfile doesn't read."""
    with video.open_container(data, limits) as container:
        if not container.streams.audio:
            raise MediaError("has no audio track")
        stream = container.streams.audio[0]
        stream.codec_context.thread_count = 1
        rate = stream.codec_context.sample_rate
        planar = av.AudioResampler(format="fltp")
        blocks: list[np.ndarray] = []
        count = 0
        try:
            for frame in container.decode(stream):
                blocks += [block.to_ndarray() for block in planar.resample(frame)]
                count += frame.samples
                limits.check_seconds(count / rate)
        except av.FFmpegError as error:
            raise MediaError(f"broken audio: {video.reason_of(error)}") from error
        if stream.duration is not None and stream.time_base is not None:
            declared = float(stream.duration * stream.time_base)
            if count / rate + _MISSING_SECONDS < declared:
                raise MediaError(
                    f"holds {count / rate:.1f} s of {declared:.1f} s: the file is cut short"
                )
    if not blocks:
        raise MediaError("has no audio samples")
    return _mono(np.concatenate(blocks, axis=1).T), rate


def _mono(samples: np.ndarray) -> np.ndarray:
    """float32 [n, channels] -> float32 [n], their mean."""
    return samples[:, 0] if samples.shape[1] == 1 else samples.mean(axis=1, dtype=np.float32)


def _check_whole(data: bytes) -> None:
    """libsndfile reads a WAV or Ogg file that was cut short as a shorter one: look ourselves."""
    if data[:4] == b"RIFF" and data[8:12] == b"WAVE":
        _check_wav(data)
    elif data[:4] == b"OggS":
        last_page = data.rfind(b"OggS")
        if len(data) < last_page + 27 or not data[last_page + 5] & 0x04:
            raise MediaError("the last Ogg page is missing: the file is cut short")


def _check_wav(data: bytes) -> None:
    position = 12
    while position + 8 <= len(data):
        name, size = struct.unpack_from("<4sI", data, position)
        if name == b"data":
            # Programs that stream write 0 or the largest number here.
            if 0 < size < 0x7FFF0000 and position + 8 + size > len(data):
                held = len(data) - position - 8
                raise MediaError(f"holds {held} of {size} bytes of samples: the file is cut short")
            return
        position += 8 + size + size % 2
    raise MediaError("has no audio samples: the file is cut short")
