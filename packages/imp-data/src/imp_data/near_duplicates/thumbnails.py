"""Thumbnails: what a reader sees of an example, as a small PNG."""

import io

import numpy as np
from PIL import Image

from imp_data.media import image
from imp_data.media.limits import Limits
from imp_data.near_duplicates import kinds, sound
from imp_data.near_duplicates.kinds import Kind
from imp_data.views import AudioView, ImageView, VideoView, View

_SIDE = 96
_FRAMES = 4
_SECONDS = 8


def of_bytes(
    data: bytes, kind: Kind, *, limits: Limits, start: float = 0.0, end: float | None = None
) -> bytes:
    """A file's PNG: the picture, four frames, or the spectrogram of 8 s. Raises MediaError."""
    if kind == "image":
        picture = image.decode(data, limits=limits, size=_SIDE)
        picture.thumbnail((2 * _SIDE, _SIDE))
        return _png(np.asarray(picture))
    view = kinds.CLIP if kind == "video" else sound.VIEW
    return of_array(kinds.clip_of(data, view, limits=limits, start=start, end=end), view)


def of_array(array: np.ndarray, view: View) -> bytes:
    """A stored example's PNG."""
    if isinstance(view, ImageView):
        return _png(_sized(array))
    if isinstance(view, VideoView):
        changes = 1 + np.flatnonzero((array[1:] != array[:-1]).any(axis=(1, 2, 3)))
        moments = np.linspace(0, changes[-1] if len(changes) else 0, _FRAMES).astype(int)
        return _png(np.concatenate([_sized(array[i]) for i in moments], axis=1))
    assert isinstance(view, AudioView)
    frames = array[: round(_SECONDS * view.sample_rate / view.hop)]
    levels = np.clip((frames - frames.max()) / sound.RANGE + 1, 0, 1)
    # Time runs to the right, frequency upwards.
    return _png(np.rint(levels.T[::-1] * 255).astype(np.uint8))


def _sized(array: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(array).resize((_SIDE, _SIDE)))


def _png(array: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(array).save(out, "PNG")
    return out.getvalue()
