"""Inputs: files and texts as the service takes them."""

import dataclasses
import pathlib
from typing import TypeAlias

from imp_proto.v1 import embedding_pb2

_SUFFIXES: dict[str, frozenset[str]] = {
    "image": frozenset([".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff"]),
    "video": frozenset([".mp4", ".webm", ".mkv", ".mov", ".avi", ".m4v", ".mpg", ".mpeg"]),
    "audio": frozenset([".wav", ".flac", ".mp3", ".ogg", ".opus", ".m4a", ".aac"]),
    "text": frozenset([".txt"]),
}

Input: TypeAlias = embedding_pb2.Input


@dataclasses.dataclass(frozen=True, kw_only=True)
class ItemFailure:
    """What stands in a list of results for an input that has none."""

    message: str


def text(value: str) -> Input:
    return Input(text=value)


def media(modality: str, data: bytes) -> Input:
    """An encoded file's bytes as an input."""
    value = Input()
    setattr(value, modality, data)
    return value


def modality_of(path: pathlib.Path) -> str:
    """By the file's suffix. Raises ValueError for one that says nothing."""
    for modality, suffixes in _SUFFIXES.items():
        if path.suffix.lower() in suffixes:
            return modality
    if path.is_dir():
        raise ValueError(f"{path} is a folder; give its files")
    raise ValueError(
        f"{path}: {path.suffix or 'no suffix'} tells no modality; give it with --modality"
    )


def read_file(path: str | pathlib.Path, modality: str | None = None) -> Input:
    """A file as an input; `modality` "audio" takes the sound track of a video file.

    Raises FileNotFoundError, and ValueError for a modality that can't be told or is unknown.
    """
    path = pathlib.Path(path)
    kind = modality or modality_of(path)
    if kind not in _SUFFIXES:
        raise ValueError(f"modality {kind!r} is unknown; one of {', '.join(_SUFFIXES)}")
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}")
    if kind == "text":
        try:
            return Input(text=path.read_text("utf-8-sig"))
        except UnicodeDecodeError as error:
            raise ValueError(f"{path}: not UTF-8 text ({error.reason})") from error
    return media(kind, path.read_bytes())
