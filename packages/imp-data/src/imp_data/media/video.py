"""Video: encoded bytes -> uint8 [t, size, size, 3], sampled by timestamp."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeAlias

import av
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter
from PIL import Image

from imp_data.media import animation, image
from imp_data.media.container import Reach, check_track, open_container, reason_of, start_of
from imp_data.media.limits import DEFAULT_LIMITS, Limits, MediaError
from imp_data.views import VideoView

# A picture that can be had at a size: uint8 [size, size, 3].
_Picture: TypeAlias = Callable[[int], np.ndarray]
_WITH_ALPHA = frozenset({"rgba", "bgra", "argb", "abgr", "yuva420p", "yuva444p"})
# A longer frame is cropped before it is scaled: scaled whole it could be huge.
_MAX_ASPECT = 8
# Containers round times to their clock's ticks, GIF's are 1/100 s: a frame that starts this little
# after a time counts as on screen then.
TICK = 6e-3
# A file that ends this much earlier than it says has lost its end.
_MISSING_SECONDS = 0.1
# A clip that starts this late is sought, not decoded up to.
_SEEK_SECONDS = 5.0


def load_many(
    data: bytes,
    views: Sequence[VideoView],
    *,
    limits: Limits = DEFAULT_LIMITS,
    start: float = 0.0,
    end: float | None = None,
) -> dict[str, np.ndarray]:
    """Decodes once: view.key -> uint8 [t, size, size, 3], between `start` and `end` seconds.

    Frame i is the one on screen at start + i / fps, turned upright; past the end it is the last.
    Raises MediaError for a broken file, one without video, one that ends before it says, and a
    `start` at or past the end.
    """
    shapes = {view.key: view.shape for view in views}
    return read(data, shapes, wanted_times(views, start, end), limits, start)


def read(
    data: bytes,
    shapes: Mapping[str, tuple[int, ...]],
    wanted: Sequence[tuple[float, str, int, int]],
    limits: Limits,
    start: float,
) -> dict[str, np.ndarray]:
    """key -> uint8 of its shape, of the frames `wanted`."""
    if animation.is_animation(data):
        scaled = (
            (first, last, lambda size, picture=picture: image.fit(picture, size))
            for first, last, picture in animation.frames(data, limits)
        )
        return _show(scaled, shapes, wanted, start)
    try:
        return _load(data, shapes, wanted, limits, start, seek=start > _SEEK_SECONDS)
    except _OvershotError:
        return _load(data, shapes, wanted, limits, start, seek=False)


def _load(
    data: bytes,
    shapes: Mapping[str, tuple[int, ...]],
    wanted: Sequence[tuple[float, str, int, int]],
    limits: Limits,
    start: float,
    *,
    seek: bool,
) -> dict[str, np.ndarray]:
    with open_container(data, limits) as container:
        if not container.streams.video:
            raise MediaError("has no video track")
        stream = container.streams.video[0]
        check_track(stream)
        limits.check_pixels(stream.codec_context.width, stream.codec_context.height)
        stream.codec_context.thread_count = 1
        latest_first = math.inf
        try:
            if seek and (origin := start_of(stream)) is not None:
                container.seek(int((origin + start) * av.time_base), backward=True)
                latest_first = start
            frames = _timed(container, stream, limits, latest_first=latest_first)
            return _show(frames, shapes, wanted, start)
        except av.FFmpegError as error:
            raise MediaError(f"broken video: {reason_of(error)}") from error


def wanted_times(
    views: Sequence[VideoView], start: float, end: float | None
) -> list[tuple[float, str, int, int]]:
    """(seconds, view.key, frame, size) in order of time."""
    found = []
    for view in views:
        # The last sample before the end is repeated; an end at a sample's time excludes it.
        inside = math.inf if end is None else max(1, math.ceil((end - start - TICK) * view.fps))
        for i in range(view.frames):
            found.append((start + min(i, inside - 1) / view.fps, view.key, i, view.size))
    return sorted(found)


def _show(
    frames: Iterator[tuple[float, float, _Picture]],
    shapes: Mapping[str, tuple[int, ...]],
    wanted: Sequence[tuple[float, str, int, int]],
    start: float,
) -> dict[str, np.ndarray]:
    """Fills each clip's frames with what is on screen at the wanted times."""
    clips = {key: np.empty(shape, np.uint8) for key, shape in shapes.items()}
    position = 0

    def fill(picture: _Picture, until: float) -> None:
        nonlocal position
        fitted: dict[int, np.ndarray] = {}
        while position < len(wanted) and wanted[position][0] < until:
            _, key, i, size = wanted[position]
            if size not in fitted:
                fitted[size] = picture(size)
            clips[key][i] = fitted[size]
            position += 1

    latest: _Picture | None = None
    last = 0.0
    for time, until, picture in frames:
        if latest is not None:
            fill(latest, time - TICK)
        latest, last = picture, until
        if position == len(wanted):
            return clips
    if latest is None:
        raise MediaError("has no video frames")
    if start and start >= last:
        raise MediaError(f"start {start:g} s is past the end, {last:.2f} s")
    fill(latest, math.inf)
    return clips


def _timed(
    container: av.container.InputContainer,
    stream: av.video.stream.VideoStream,
    limits: Limits,
    *,
    latest_first: float,
) -> Iterator[tuple[float, float, _Picture]]:
    """Frames in order of presentation: start and end in seconds since the first, and the picture.

    Raises MediaError, after the last one, for a file that ends before it says; _OvershotError when
    the first one comes after `latest_first` seconds.
    """
    # One a size: setting a scaler up costs more than a frame.
    scalers: dict[int, VideoReformatter] = {}
    clock = float(stream.time_base or 0)
    origin = start_of(stream)
    number, previous, gap = 0, 0.0, 0.0
    reach = Reach(container, stream)
    for packet in reach.packets():
        for frame in stream.decode(packet):
            if number >= limits.max_frames:
                raise MediaError(f"more than {limits.max_frames} frames, the limit")
            if frame.is_corrupt:
                raise MediaError(f"frame {number} is corrupt")
            time = previous if frame.time is None else frame.time
            if origin is None:
                origin = time
            if not number and time - origin > latest_first + TICK:
                raise _OvershotError
            number += 1
            if number > 1:
                gap = max(gap, time - previous)
            previous = time
            shown = (frame.duration or 0) * clock or gap
            yield time - origin, time - origin + shown, _Fitted(frame, scalers)
    if not number and latest_first < math.inf:
        raise _OvershotError
    reach.check(missing=_MISSING_SECONDS, gap=gap)


class _OvershotError(Exception):
    """A seek went past the time it was to find."""


class _Fitted:
    """A decoded frame that is scaled when a size is asked for."""

    def __init__(self, frame: av.VideoFrame, scalers: dict[int, VideoReformatter]) -> None:
        self._frame, self._scalers = frame, scalers

    def __call__(self, size: int) -> np.ndarray:
        return fit(self._frame, size, self._scalers.setdefault(size, VideoReformatter()))


def fit(frame: av.VideoFrame, size: int, scaler: VideoReformatter) -> np.ndarray:
    """Shorter side to `size`, antialiased, the square at the centre, turned as the file says.

    uint8 [size, size, 3]; transparency over white. `scaler` should serve all frames of a clip.
    """
    shorter = min(frame.width, frame.height)
    longer = max(frame.width, frame.height)
    if frame.format.name in _WITH_ALPHA or longer > _MAX_ASPECT * shorter:
        pixels = scaler.reformat(frame, format="rgba", threads=1).to_ndarray()
        square = image.fit(image.to_rgb(Image.fromarray(pixels)), size)
    else:
        width = round(frame.width * size / shorter)
        height = round(frame.height * size / shorter)
        kernel = Interpolation.AREA if size < shorter else Interpolation.BICUBIC
        scaled = scaler.reformat(
            frame,
            width=width,
            height=height,
            format="rgb24",
            interpolation=kernel | Interpolation.ACCURATE_RND | Interpolation.BITEXACT,
            threads=1,
        ).to_ndarray()
        left, top = (width - size) // 2, (height - size) // 2
        square = scaled[top : top + size, left : left + size]
    return np.rot90(square, k=round(frame.rotation / 90))
