"""Sources: what lies there. A spec such as `folder:PATH` -> items, each a file and its words.

folder:PATH  class folders: [train/|test/|…]<label>/…/<file>; the label is the folder's name
csv:FILE     a header line, then columns path, caption or captions (split at "|"), label, split
jsonl:FILE   one object a line with the same names; captions is a list

A manifest's paths are relative to its folder and may not leave it. Files whose suffix names no
modality that is asked for are passed over in folders, and refused in manifests.
"""

import csv
import dataclasses
import functools
import io
import json
import os
import pathlib
from collections.abc import Iterable, Iterator
from typing import Any, Literal

from imp_data.media.limits import Limits

CaptionFrom = Literal["stem"]
DEFAULT_SPLIT = "train"
SPLITS = ("train", "validation", "val", "test")
_IMAGE = "png jpg jpeg webp gif bmp tif tiff ppm pgm jp2 ico avif"
_VIDEO = "mp4 m4v mov mkv webm avi gif mpg mpeg ts flv"
_AUDIO = "wav flac ogg opus oga mp3 aac m4a aif aiff mp4 m4v mov mkv webm avi mpg mpeg ts flv"
SUFFIXES: dict[str, frozenset[str]] = {
    "image": frozenset(f".{suffix}" for suffix in _IMAGE.split()),
    "video": frozenset(f".{suffix}" for suffix in _VIDEO.split()),
    "audio": frozenset(f".{suffix}" for suffix in _AUDIO.split()),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Item:
    """One input file. `id` is unique in its source; `path` is absolute; `label` is a name."""

    id: str
    path: str
    texts: tuple[str, ...] = ()
    label: str | None = None
    split: str = DEFAULT_SPLIT


def read(
    spec: str, *, modalities: Iterable[str], caption_from: CaptionFrom | None = None
) -> list[Item]:
    """Every item of a source, in a fixed order. Raises FileNotFoundError or ValueError.

    `modalities` are those whose views are wanted: a file must suit them all. `caption_from="stem"`
    captions a file that has no caption by its name, "-" and "_" read as spaces.
    """
    kind, _, location = spec.partition(":")
    if kind not in _READERS or not location:
        raise ValueError(f"source {spec!r} is unknown; write folder:PATH, csv:FILE or jsonl:FILE")
    suffixes = frozenset.intersection(*(SUFFIXES[modality] for modality in modalities))
    items = list(_READERS[kind](pathlib.Path(location).expanduser(), suffixes))
    if not items:
        raise ValueError(f"source {spec} holds no {' + '.join(sorted(modalities))} files")
    seen: set[str] = set()
    for item in items:
        if item.id in seen:
            raise ValueError(f"source {spec} names {item.id} twice; remove one")
        seen.add(item.id)
    if caption_from == "stem":
        items = [item if item.texts else _captioned(item) for item in items]
    return items


def _captioned(item: Item) -> Item:
    stem = pathlib.PurePath(item.path).stem.replace("-", " ").replace("_", " ")
    return dataclasses.replace(item, texts=(stem,))


def _read_folder(root: pathlib.Path, suffixes: frozenset[str]) -> Iterator[Item]:
    if not root.is_dir():
        raise FileNotFoundError(f"no folder at {root}; write folder:PATH of class folders")
    root = root.resolve()
    for folder, folders, files in os.walk(root):
        folders.sort()
        folders[:] = [name for name in folders if not name.startswith(".")]
        relative = pathlib.PurePath(folder).relative_to(root)
        split, parts = DEFAULT_SPLIT, relative.parts
        if parts and parts[0] in SPLITS:
            split, parts = parts[0], parts[1:]
        for name in sorted(files):
            if name.startswith(".") or pathlib.PurePath(name).suffix.lower() not in suffixes:
                continue
            yield Item(
                id=(relative / name).as_posix(),
                path=os.path.join(folder, name),
                label=parts[0] if parts else None,
                split=split,
            )


def _read_csv(path: pathlib.Path, suffixes: frozenset[str]) -> Iterator[Item]:
    # Strict: an unbalanced quote is an error, where it would else swallow the lines that follow.
    rows = csv.DictReader(io.StringIO(_manifest_text(path), newline=""), strict=True)
    try:
        if "path" not in (rows.fieldnames or ()):
            raise ValueError(f"{path} has no column 'path'; its first line must name the columns")
        for row in rows:
            yield _csv_item(path, rows.line_num, row, suffixes)
    except csv.Error as error:
        raise ValueError(
            f"{path}:{rows.line_num + 1} is no CSV ({error}); double a quote that is meant as such"
        ) from error


def _csv_item(
    path: pathlib.Path, line: int, row: dict[str | None, Any], suffixes: frozenset[str]
) -> Item:
    if None in row:
        raise ValueError(f"{path}:{line} has more fields than the header; quote commas")
    captions = [text for text in (row.get("captions") or "").split("|") if text]
    if row.get("caption"):
        captions.insert(0, row["caption"])
    return _manifest_item(
        path,
        line,
        suffixes,
        file=row["path"],
        texts=captions,
        label=row.get("label") or None,
        split=row.get("split") or DEFAULT_SPLIT,
    )


def _read_jsonl(path: pathlib.Path, suffixes: frozenset[str]) -> Iterator[Item]:
    for number, line in enumerate(_manifest_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise ValueError(f"{path}:{number} is not JSON: {error.msg}") from error
        if not isinstance(row, dict):
            raise ValueError(f"{path}:{number} is not a JSON object")
        captions = row.get("captions") or []
        if row.get("caption"):
            captions = [row["caption"], *captions]
        if not isinstance(captions, list) or not all(isinstance(c, str) for c in captions):
            raise ValueError(f"{path}:{number} captions must be a list of strings")
        label = row.get("label")
        yield _manifest_item(
            path,
            number,
            suffixes,
            file=row.get("path"),
            texts=captions,
            label=None if label is None else str(label),
            split=row.get("split") or DEFAULT_SPLIT,
        )


def _manifest_text(path: pathlib.Path) -> str:
    """UTF-8, with or without a byte-order mark. Bytes that are not stay marked, for their item's
    rejection."""
    if not path.is_file():
        raise FileNotFoundError(f"no manifest at {path}")
    return path.read_bytes().decode("utf-8-sig", errors="surrogateescape")


def _manifest_item(
    manifest: pathlib.Path,
    line: int,
    suffixes: frozenset[str],
    *,
    file: object,
    texts: list[str],
    label: str | None,
    split: object,
) -> Item:
    where = f"{manifest}:{line}"
    if not isinstance(file, str) or not file:
        raise ValueError(f"{where} has no path")
    if not isinstance(split, str) or not split.isidentifier():
        raise ValueError(f"{where} split {split!r} must be a word such as train or test")
    root = _real_folder(str(manifest.parent))
    folder, name = os.path.split(os.path.join(root, file))
    path = os.path.join(_real_folder(folder), name)
    if name == ".." or os.path.islink(path):
        path = os.path.realpath(path)
    if not path.startswith(root.rstrip(os.sep) + os.sep):
        raise ValueError(f"{where} path {file!r} leaves the manifest's folder; copy the file there")
    if os.path.splitext(name)[1].lower() not in suffixes:
        raise ValueError(
            f"{where} path {file!r} must end in one of {' '.join(sorted(suffixes))} for these views"
        )
    return Item(
        id=pathlib.PurePath(file).as_posix(),
        path=path,
        texts=tuple(texts),
        label=label,
        split=split,
    )


# A folder of a million files is looked up once.
_real_folder = functools.lru_cache(maxsize=1024)(os.path.realpath)
_READERS = {"folder": _read_folder, "csv": _read_csv, "jsonl": _read_jsonl}


def read_bytes(item: Item, limits: Limits) -> bytes:
    """The file's bytes; no more than the limits allow are read. Raises OSError."""
    with open(item.path, "rb") as file:
        return file.read(limits.max_bytes + 1)
