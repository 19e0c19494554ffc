"""Item: one input as a source lists it, before anything of it is decoded."""

import dataclasses

from imp_data.sources.payload import Payload

DEFAULT_SPLIT = "train"
SPLITS = ("train", "validation", "val", "test")
_IMAGE = "png jpg jpeg webp gif bmp tif tiff ppm pgm jp2 ico avif"
_VIDEO = "mp4 m4v mov mkv webm avi gif webp mpg mpeg ts flv"
_AUDIO = "wav flac ogg opus oga mp3 aac m4a aif aiff mp4 m4v mov mkv webm avi mpg mpeg ts flv"
SUFFIXES: dict[str, frozenset[str]] = {
    "image": frozenset(f".{suffix}" for suffix in _IMAGE.split()),
    "video": frozenset(f".{suffix}" for suffix in _VIDEO.split()),
    "audio": frozenset(f".{suffix}" for suffix in _AUDIO.split()),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Item:
    """One input. `id` is unique in its source, `path` absolute or a URL, `labels` are names.

    `payload` says where in the file the media lie; None is the whole file. `start` and `end` are
    seconds within the media; `end` None is its end. An item with a `problem`, a one-line reason, is
    never read: it is a reject.
    """

    id: str
    path: str
    texts: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    split: str = DEFAULT_SPLIT
    start: float = 0.0
    end: float | None = None
    payload: Payload | None = None
    problem: str | None = None
