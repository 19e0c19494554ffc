"""Clip edits: a video decoded, changed frame by frame and encoded anew, without its sound."""

import dataclasses
import io

import av
import numpy as np
from PIL import Image


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClipEdit:
    """Keeps each `every`th frame from `start` (a share) on, and the centre `kept` of each side."""

    quality: int = 23
    every: int = 1
    start: float = 0.0
    kept: float = 1.0
    scale: float = 1.0
    mirror: bool = False
    gain: tuple[float, float, float] = (1.0, 1.0, 1.0)

    def __call__(self, data: bytes) -> bytes:
        with av.open(io.BytesIO(data), "r") as source:
            rate = source.streams.video[0].average_rate
            frames = [frame.to_image() for frame in source.decode(video=0)]
        assert rate is not None
        frames = frames[round(len(frames) * self.start) :: self.every]
        out = io.BytesIO()
        with av.open(out, "w", format="mp4") as container:
            stream = container.add_stream("libx264", rate=rate / self.every)
            stream.options = {"crf": str(self.quality), "threads": "1"}
            stream.pix_fmt = "yuv420p"
            pictures = [self._changed(frame) for frame in frames]
            stream.width, stream.height = pictures[0].size
            for picture in pictures:
                container.mux(stream.encode(av.VideoFrame.from_image(picture)))
            container.mux(stream.encode())
        return out.getvalue()

    def _changed(self, picture: Image.Image) -> Image.Image:
        width, height = picture.size
        side = (1 - self.kept) / 2
        box = (width * side, height * side, width * (1 - side), height * (1 - side))
        # H.264 wants even sizes.
        size = tuple(2 * round(edge * self.kept * self.scale / 2) for edge in picture.size)
        changed = picture.resize((size[0], size[1]), Image.Resampling.BILINEAR, box=box)
        if self.mirror:
            changed = changed.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        return Image.fromarray(np.clip(np.asarray(changed) * self.gain, 0, 255).astype(np.uint8))


CLIP: dict[str, ClipEdit] = {
    "H.264, CRF 35": ClipEdit(quality=35),
    "half the size": ClipEdit(scale=0.5),
    "every third frame": ClipEdit(every=3),
    "centre 90 % of each side": ClipEdit(kept=0.9),
    "channels by 0.8, 1, 1.2": ClipEdit(gain=(0.8, 1.0, 1.2)),
    "mirrored": ClipEdit(mirror=True),
    "the last 90 %": ClipEdit(start=0.1),
}
