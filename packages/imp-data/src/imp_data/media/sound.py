"""Recordings: encoded bytes -> mono samples of the stretch that is wanted, in little memory."""

import io
import math
from collections.abc import Iterable, Iterator

import av
import numpy as np
import soundfile

from imp_data.media import integrity
from imp_data.media.container import Reach, check_track, open_container, reason_of, start_of
from imp_data.media.limits import DEFAULT_LIMITS, Limits, MediaError

_MISSING_SECONDS = 0.1
_BLOCK_SAMPLES = 1 << 16
_RATES = (1_000, 768_000)
_MAX_CHANNELS = 64
# Floating-point samples may exceed full scale; those that mean integers exceed this.
_LOUDEST = 64.0
# Formats that libsndfile seeks in to the sample.
_SEEKABLE = frozenset({"WAV", "WAVEX", "AIFF", "FLAC", "RF64", "W64", "AU", "CAF"})


def decode(
    data: bytes,
    *,
    limits: Limits = DEFAULT_LIMITS,
    start: float = 0.0,
    seconds: float = math.inf,
) -> tuple[np.ndarray, int]:
    """Mono float32 [n] within about -1..1, and the sample rate in Hz; channels are averaged.

    The stretch is `seconds` long, or what there is, from `start` on. Raises MediaError for a broken
    file or one cut short, one without audio, samples that are no numbers, and a `start` at or past
    the end.
    """
    limits.check_bytes(data)
    integrity.check(data)
    try:
        file = soundfile.SoundFile(io.BytesIO(data))
    except soundfile.LibsndfileError:
        return _decode_av(data, limits, start, seconds)
    with file:
        try:
            return _decode_soundfile(file, limits, start, seconds)
        except soundfile.LibsndfileError as error:
            raise MediaError(f"broken audio: {' '.join(str(error).split())}") from error


class _Kept:
    """The wanted stretch of a stream of blocks; each sample is looked at."""

    def __init__(self, rate: int, start: float, seconds: float, position: int = 0) -> None:
        self.rate = rate
        self.start = start
        self.position = position
        self._first = round(start * rate)
        self._last = math.inf if seconds == math.inf else self._first + math.ceil(seconds * rate)
        # What comes before the first sample is silence.
        silent = min(position, self._last) - self._first
        self._blocks = [np.zeros(max(0, int(silent)), np.float32)]

    def add(self, block: np.ndarray) -> None:
        """float32 [n, channels], the next of the stream."""
        if not np.isfinite(block).all():
            raise MediaError("has samples that are not numbers (NaN or infinity)")
        if (loudest := np.abs(block).max(initial=0)) > _LOUDEST:
            raise MediaError(f"has samples of {loudest:g}, and full scale is 1; scale them")
        begin = max(0, self._first - self.position)
        stop = min(len(block), self._last - self.position)
        if begin < stop:
            wanted = block[begin : int(stop)]
            self._blocks.append(
                wanted[:, 0].copy()
                if wanted.shape[1] == 1
                else wanted.mean(axis=1, dtype=np.float32)
            )
        self.position += len(block)

    def samples(self) -> np.ndarray:
        """float32 [n], once the stream is through."""
        if not self.position:
            raise MediaError("has no audio samples")
        if not any(map(len, self._blocks)):
            end = self.position / self.rate
            raise MediaError(f"start {self.start:g} s is past the end, {end:.2f} s")
        return np.concatenate(self._blocks)


def _check_shape(rate: int, channels: int) -> None:
    if not _RATES[0] <= rate <= _RATES[1]:
        raise MediaError(f"sample rate {rate} Hz must be within {_RATES[0]} and {_RATES[1]}")
    if not 1 <= channels <= _MAX_CHANNELS:
        raise MediaError(f"{channels} channels must be within 1 and {_MAX_CHANNELS}")


def _decode_soundfile(
    file: soundfile.SoundFile, limits: Limits, start: float, seconds: float
) -> tuple[np.ndarray, int]:
    rate = file.samplerate
    _check_shape(rate, file.channels)
    limits.check_seconds(file.frames / rate)
    first, last = 0, file.frames
    if file.format in _SEEKABLE and start:
        first = min(round(start * rate), file.frames)
        last = min(file.frames, first + math.ceil(min(seconds, file.frames) * rate))
        file.seek(first)
    kept = _Kept(rate, start, seconds, position=first)
    while kept.position < last:
        block = file.read(min(_BLOCK_SAMPLES, last - kept.position), "float32", always_2d=True)
        if not len(block):
            break
        kept.add(block)
    if (last - kept.position) / rate > _MISSING_SECONDS:
        raise MediaError(f"holds {kept.position} of {last} samples: the file is cut short")
    return kept.samples(), rate


def _decode_av(data: bytes, limits: Limits, start: float, seconds: float) -> tuple[np.ndarray, int]:
    """The first audio track of a container that libsndfile doesn't read."""
    with open_container(data, limits) as container:
        if not container.streams.audio:
            raise MediaError("has no audio track")
        stream = container.streams.audio[0]
        check_track(stream)
        stream.codec_context.thread_count = 1
        kept: _Kept | None = None
        reach = Reach(container, stream)
        try:
            for block, rate in _blocks(stream, reach.packets()):
                if kept is None:
                    _check_shape(rate, block.shape[1])
                    lead = _lead(container, stream, rate)
                    limits.check_seconds(abs(lead) / rate)
                    kept = _Kept(rate, start, seconds, lead)
                kept.add(block)
                limits.check_seconds(kept.position / kept.rate)
        except (av.FFmpegError, ValueError) as error:
            if isinstance(error, MediaError):
                raise
            raise MediaError(f"broken audio: {reason_of(error)}") from error
        if kept is None:
            raise MediaError("has no audio samples")
        reach.check(missing=_MISSING_SECONDS)
        held, declared = (kept.position - lead) / kept.rate, reach.seconds
        if declared is not None and held + _MISSING_SECONDS < declared:
            raise MediaError(f"holds {held:.1f} s of {declared:.1f} s: the file is cut short")
    return kept.samples(), kept.rate


def _blocks(
    stream: av.audio.stream.AudioStream, packets: Iterable[av.Packet]
) -> Iterator[tuple[np.ndarray, int]]:
    """float32 [n, channels] and the rate. ValueError for a stream that changes either midway."""
    planar: av.AudioResampler | None = None
    for frame in (frame for packet in packets for frame in stream.decode(packet)):
        if planar is None:
            planar = av.AudioResampler("fltp", frame.layout, frame.sample_rate)
        for block in planar.resample(frame):
            yield block.to_ndarray().T, block.sample_rate


def _lead(
    container: av.container.InputContainer, stream: av.audio.stream.AudioStream, rate: int
) -> int:
    """How many samples after its picture a video's sound begins; below 0 for before."""
    if not container.streams.video:
        return 0
    picture = container.streams.video[0]
    seen, heard = start_of(picture), start_of(stream)
    return 0 if seen is None or heard is None else round((heard - seen) * rate)
