"""Clips of one video, spread over its length: what an evaluation averages over."""

import av
import numpy as np

from imp_data.media import animation, video
from imp_data.media.container import open_container, reason_of
from imp_data.media.limits import DEFAULT_LIMITS, Limits, MediaError
from imp_data.views import VideoView


def load(
    data: bytes,
    view: VideoView,
    num_clips: int,
    *,
    limits: Limits = DEFAULT_LIMITS,
    start: float = 0.0,
    end: float | None = None,
) -> np.ndarray:
    """Clips that begin evenly from `start` to a clip's length before `end`, decoded together.

    uint8 [c, t, size, size, 3]; c is 1 where one clip shows all there is. Raises MediaError as
    `video.load_many` does.
    """
    last = duration(data, limits=limits) if end is None else end
    spare = last - start - view.frames / view.fps
    if num_clips == 1 or spare <= video.TICK:
        return video.load_many(data, [view], limits=limits, start=start, end=end)[view.key][None]
    starts = [start + spare * i / (num_clips - 1) for i in range(num_clips)]
    wanted = [
        (time, str(i), frame, size)
        for i, first in enumerate(starts)
        for time, _, frame, size in video.wanted_times([view], first, end)
    ]
    shapes = {str(i): view.shape for i in range(num_clips)}
    clips = video.read(data, shapes, sorted(wanted), limits, start)
    return np.stack(list(clips.values()))


def duration(data: bytes, *, limits: Limits = DEFAULT_LIMITS) -> float:
    """Seconds from the first picture to the end of the last, by the packets: nothing is decoded but
    an animation. Raises MediaError."""
    if animation.is_animation(data):
        return max(end for _, end, _ in animation.frames(data, limits))
    with open_container(data, limits) as container:
        if not container.streams.video:
            raise MediaError("has no video track")
        stream = container.streams.video[0]
        clock = float(stream.time_base or 0)
        try:
            packets = [
                (p.pts * clock, (p.duration or 0) * clock)
                for p in container.demux(stream)
                if p.pts is not None
            ]
        except av.FFmpegError as error:
            raise MediaError(f"broken video: {reason_of(error)}") from error
        if not packets:
            raise MediaError("has no video frames")
        times = sorted(time for time, _ in packets)
        gap = packets[-1][1] or (times[-1] - times[-2:][0])
        return times[-1] - times[0] + gap
