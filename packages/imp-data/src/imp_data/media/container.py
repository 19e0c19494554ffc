"""Containers: bytes -> what FFmpeg demuxes, within the limits."""

import io

import av

from imp_data.media.limits import Limits, MediaError

# Demuxers that read one stream of bytes; playlists, which open other files, are not among them.
CONTAINERS = (
    "aac,aiff,amr,asf,avi,flac,flv,m4v,matroska,mov,mp3,mp4,mpeg,mpegts,mpegvideo,ogg,wav,webm"
)


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


def start_of(stream: av.stream.Stream) -> float | None:
    """When the track begins on the container's clock, in seconds, if it says so."""
    if stream.start_time is None or stream.time_base is None:
        return None
    return float(stream.start_time * stream.time_base)


def reason_of(error: Exception) -> str:
    """FFmpeg's own words, in one line."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(text.split())
