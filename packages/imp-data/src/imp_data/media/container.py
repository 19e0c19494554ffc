"""Containers: bytes -> what FFmpeg demuxes, within the limits."""

import io
from collections.abc import Iterator

import av

from imp_data.media import integrity
from imp_data.media.limits import Limits, MediaError

# Demuxers that read one stream of bytes; playlists, which open other files, are not among them.
CONTAINERS = (
    "aac,aiff,amr,asf,avi,flac,flv,m4v,matroska,mov,mp3,mp4,mpeg,mpegts,mpegvideo,ogg,wav,webm"
)


def open_container(data: bytes, limits: Limits) -> av.container.InputContainer:
    """Raises MediaError for what is no single-file container, or one longer than the limits."""
    limits.check_bytes(data)
    integrity.check(data)
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


def check_track(stream: av.stream.Stream) -> None:
    """Raises MediaError for a track whose codec is unknown or whose header is broken."""
    if stream.codec_context is None:
        raise MediaError(f"the {stream.type} track has no header that a decoder knows")


class Reach:
    """How far the packets of a container lead, against what it says of its length."""

    def __init__(self, container: av.container.InputContainer, stream: av.stream.Stream) -> None:
        self._container, self._stream = container, stream
        self._ends = {stream.index: 0.0}
        self._told = True

    def packets(self) -> Iterator[av.Packet]:
        """The stream's packets. Those of other tracks are looked at and passed over."""
        for packet in self._container.demux():
            # Not `stream_index`: the empty packets that end a track all say 0.
            index = packet.stream.index
            own = index == self._stream.index
            if packet.pts is not None and packet.time_base is not None:
                end = float((packet.pts + (packet.duration or 0)) * packet.time_base)
                self._ends[index] = max(self._ends.get(index, 0.0), end)
                self._told = bool(packet.duration) if own else self._told
            if own:
                yield packet

    @property
    def seconds(self) -> float | None:
        """The track's length, if it says so."""
        if self._stream.duration is None or self._stream.time_base is None:
            return None
        return float(self._stream.duration * self._stream.time_base)

    def check(self, *, missing: float, gap: float = 0.0) -> None:
        """Raises MediaError where the packets end over `missing` seconds before they should.

        A last packet of untold duration may last `gap` seconds, the longest before it.
        """
        stream, container = self._stream, self._container
        declared = self.seconds
        if declared is not None:
            reached = self._ends[stream.index] - (start_of(stream) or 0.0)
        elif container.duration is not None:
            reached = max(self._ends.values()) - (container.start_time or 0) / av.time_base
            declared = container.duration / av.time_base
        else:
            return
        if reached + (missing if self._told else max(missing, gap)) < declared:
            raise MediaError(f"ends at {reached:.1f} s of {declared:.1f} s: the file is cut short")


def start_of(stream: av.stream.Stream) -> float | None:
    """When the track begins on the container's clock, in seconds, if it says so."""
    if stream.start_time is None or stream.time_base is None:
        return None
    return float(stream.start_time * stream.time_base)


def reason_of(error: Exception) -> str:
    """FFmpeg's own words, in one line."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(text.split())
