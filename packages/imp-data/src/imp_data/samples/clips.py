"""MP4 files with H.264 video and, where there is sound, AAC audio."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np


def write_mp4(
    path: Path,
    frames: Sequence[np.ndarray],
    fps: int,
    *,
    waveform: np.ndarray | None = None,
    sample_rate: int = 0,
    crf: int = 20,
) -> None:
    """frames: uint8 [h, w, 3] each, with even h and w; waveform: float32 [n] in -1..1, mono."""
    height, width, _ = frames[0].shape
    with av.open(str(path), "w", format="mp4") as container:
        video = container.add_stream("libx264", rate=fps)
        video.width, video.height, video.pix_fmt = width, height, "yuv420p"
        video.options = {"preset": "ultrafast", "crf": str(crf), "threads": "1"}
        video.codec_context.thread_count = 1
        audio = None
        if waveform is not None:
            audio = container.add_stream("aac", rate=sample_rate, layout="mono")
            # Constant quality: four times as fast as searching for a bit rate.
            audio.options = {"aac_coder": "fast", "flags": "+qscale", "global_quality": "118"}
        for frame in frames:
            container.mux(video.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(video.encode())
        if audio is not None and waveform is not None:
            sound = av.AudioFrame.from_ndarray(
                np.ascontiguousarray(waveform[None], np.float32), format="fltp", layout="mono"
            )
            sound.sample_rate = sample_rate
            sound.time_base = Fraction(1, sample_rate)
            sound.pts = 0
            container.mux(audio.encode(sound))
            container.mux(audio.encode())
