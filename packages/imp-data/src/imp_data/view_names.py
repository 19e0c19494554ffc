"""Views as a command line writes them: `image-64`, `video-16x64-8fps`, `audio-32`."""

import re

from imp_data.views import AudioView, ImageView, VideoView, View

_FORMS = "image-SIZE, video-FRAMESxSIZE-RATEfps, audio-FRAMES[xMELS][-HOPhop]"


def parse(name: str) -> View:
    """The view whose key `name` is, or abbreviates. Raises ValueError that shows the forms.

    Text has no stored view: shards keep the text itself.
    """
    if match := re.fullmatch(r"image-(\d+)", name):
        return ImageView(size=int(match[1]))
    if match := re.fullmatch(r"video-(\d+)x(\d+)-(\d+(?:\.\d+)?)fps", name):
        return VideoView(frames=int(match[1]), size=int(match[2]), fps=float(match[3]))
    if match := re.fullmatch(r"audio-(\d+)(?:x(\d+))?(?:-(\d+)hop)?", name):
        options = {
            key: int(value)
            for key, value in (("num_mels", match[2]), ("hop", match[3]))
            if value is not None
        }
        return AudioView(frames=int(match[1]), **options)
    raise ValueError(f"view {name!r} is unknown; write {_FORMS}")
