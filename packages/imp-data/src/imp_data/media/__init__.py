"""Files' bytes -> arrays shaped by a View. The same code prepares shards and serves requests."""

from collections.abc import Sequence

import numpy as np

from imp_data.media import audio, image, video
from imp_data.media.limits import DEFAULT_LIMITS, Limits, MediaError
from imp_data.views import AudioView, ImageView, VideoView, View

__all__ = ["DEFAULT_LIMITS", "Limits", "MediaError", "load", "load_many"]


def load(data: bytes, view: View, *, limits: Limits = DEFAULT_LIMITS) -> np.ndarray:
    """The array that `view` describes. Raises MediaError, a one-line reason, for a bad file."""
    return load_many(data, [view], limits=limits)[view.key]


def load_many(
    data: bytes,
    views: Sequence[View],
    *,
    limits: Limits = DEFAULT_LIMITS,
    start: float = 0.0,
    end: float | None = None,
) -> dict[str, np.ndarray]:
    """view.key -> array, each modality decoded once. Raises MediaError.

    Video and audio are those between `start` and `end` seconds; `end` None is the file's. Text has
    no media: ValueError for a TextView.
    """
    arrays: dict[str, np.ndarray] = {}
    images = [view for view in views if isinstance(view, ImageView)]
    videos = [view for view in views if isinstance(view, VideoView)]
    audios = [view for view in views if isinstance(view, AudioView)]
    if others := [v.key for v in views if not isinstance(v, ImageView | VideoView | AudioView)]:
        raise ValueError(f"view {others[0]} is not a file's; tokenise text with a Tokenizer")
    if images:
        arrays |= image.load_many(data, images, limits=limits)
    if videos:
        arrays |= video.load_many(data, videos, limits=limits, start=start, end=end)
    if audios:
        arrays |= audio.load_many(data, audios, limits=limits, start=start, end=end)
    return {view.key: arrays[view.key] for view in views}
