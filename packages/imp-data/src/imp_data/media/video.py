"""Video: encoded bytes -> uint8 [t, size, size, 3], by PyAV, sampled by timestamp."""

import io
from collections.abc import Iterator, Sequence

import av
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter
from PIL import Image

from imp_data.media import image
from imp_data.media.limits import DEFAULT_LIMITS, Limits, MediaError
from imp_data.views import VideoView

# Demuxers that read one stream of bytes; playlists, which open other files, are not among them.
CONTAINERS = (
    "aac,aiff,amr,asf,avi,flac,flv,gif,m4v,matroska,mov,mp3,mp4,mpeg,mpegts,mpegvideo,ogg,wav,webm"
)
_WITH_ALPHA = frozenset({"rgba", "bgra", "argb", "abgr", "yuva420p", "yuva444p"})
# A longer frame is cropped before it is scaled: scaled whole it could be huge.
_MAX_ASPECT = 8
# Containers round times to their clock's ticks, GIF's are 1/100 s: a frame that starts this little
# after a time counts as on screen then.
_TICK = 6e-3
# A file that ends this much earlier than it says has lost its end.
_MISSING_SECONDS = 0.5


def open_container(data: bytes, limits: Limits) -> av.container.InputContainer:
    """Raises MediaError for what is no single-file container, or one longer than the limits."""
    limits.check_bytes(data)
    try:
        container = av.open(
            io.BytesIO(data),
            mode="r",
            options={
                "format_whitelist": CONTAINERS,
                "max_pixels": str(limits.max_pixels),
            },
        )
    except (av.FFmpegError, ValueError, EOFError) as error:
        raise MediaError(f"not a readable video or recording: {reason_of(error)}") from error
    if container.duration is not None:
        try:
            limits.check_seconds(container.duration / av.time_base)
        except MediaError:
            container.close()
            raise
    return container


def reason_of(error: Exception) -> str:
    """FFmpeg's own words, in one line."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(text.split())


def load_many(
    data: bytes,
    views: Sequence[VideoView],
    *,
    limits: Limits = DEFAULT_LIMITS,
    start: float = 0.0,
) -> dict[str, np.ndarray]:
    """Decodes once: view.key -> uint8 [t, size, size, 3], from `start` seconds on.

    Frame i is the one on screen at start + i / fps, turned upright; past the end it is the last.
    Raises MediaError for a broken file, one without video, or one that ends before it says.
    """
    clips = {view.key: np.empty(view.shape, np.uint8) for view in views}
    wanted = sorted(
        (start + i / view.fps, view.key, i, view.size) for view in views for i in range(view.frames)
    )
    position = 0
    latest: av.VideoFrame | None = None
    # One a size: setting a scaler up costs more than a frame.
    scalers = {view.size: VideoReformatter() for view in views}

    def show(frame: av.VideoFrame, until: float) -> None:
        nonlocal position
        fitted: dict[int, np.ndarray] = {}
        while position < len(wanted) and wanted[position][0] < until:
            _, key, i, size = wanted[position]
            if size not in fitted:
                fitted[size] = fit(frame, size, scalers[size])
            clips[key][i] = fitted[size]
            position += 1

    with open_container(data, limits) as container:
        if not container.streams.video:
            raise MediaError("has no video track")
        stream = container.streams.video[0]
        limits.check_pixels(stream.codec_context.width, stream.codec_context.height)
        stream.codec_context.thread_count = 1
        try:
            for time, frame in _timed(container, stream, limits):
                if latest is not None:
                    show(latest, time - _TICK)
                latest = frame
                if position == len(wanted):
                    return clips
        except av.FFmpegError as error:
            raise MediaError(f"broken video: {reason_of(error)}") from error
        if latest is None:
            raise MediaError("has no video frames")
        if stream.duration is not None and stream.time_base is not None:
            declared = float(stream.duration * stream.time_base)
            if time + _MISSING_SECONDS < declared:
                raise MediaError(f"ends at {time:.1f} s of {declared:.1f} s: the file is cut short")
        show(latest, float("inf"))
    return clips


def _timed(
    container: av.container.InputContainer,
    stream: av.video.stream.VideoStream,
    limits: Limits,
) -> Iterator[tuple[float, av.VideoFrame]]:
    """Frames in order of presentation with their seconds since the first."""
    origin: float | None = None
    previous = 0.0
    for number, frame in enumerate(container.decode(stream)):
        if number >= limits.max_frames:
            raise MediaError(f"more than {limits.max_frames} frames, the limit")
        if frame.is_corrupt:
            raise MediaError(f"frame {number} is corrupt")
        time = previous if frame.time is None else frame.time
        if origin is None:
            origin = time
        previous = time
        yield time - origin, frame


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
