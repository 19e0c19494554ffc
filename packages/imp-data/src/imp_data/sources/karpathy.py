"""Flickr30k and COCO in Karpathy's splits, and Flickr30k's own lists of captions.

FILE.json           images[], each with filename, split (restval is train), sentences[].raw
FILE.csv            the same by rows: filename, split, raw (a JSON list)
FILE.token, else    image#number TAB caption; or image| number| caption
"""

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from imp_data.sources import files
from imp_data.sources.item import Item
from imp_data.sources.table import Context, Rows, broken

_LINE = re.compile(r"([^#|\t]+?)(?:#\d+\t|\|\s*\d+\|)\s*(.+)")
_NAMES = ("file_name", "captions", "split")


def read_karpathy(location: str, context: Context) -> Iterator[Item]:
    """An item an image, below `root`. Raises ValueError for a file of another shape."""
    paths = files.expand(location)
    for path, name in files.relative_names(paths).items():
        rows = Rows(context=context, manifest=path, name=name, names=_NAMES, separated=False)
        text = files.read_bytes(path).decode("utf-8-sig", errors="surrogateescape")
        read = _json if path.endswith(".json") else _csv if _is_csv(text) else _lines
        count = 0
        for count, row in enumerate(read(text, path), start=1):
            if row.get("captions"):
                yield rows.item(row, count)
            else:
                place = f"{name}:{count}"
                yield broken(place, path, f"{row.get('file_name')} has no captions")
        if not count:
            raise ValueError(f"{path} has no captions; write Karpathy's JSON or Flickr30k's lists")


def _json(text: str, path: str) -> Iterator[Mapping[str, Any]]:
    try:
        for image in json.loads(text)["images"]:
            folder = f"{image['filepath']}/" if image.get("filepath") else ""
            yield {
                "file_name": folder + image["filename"],
                "captions": [sentence["raw"] for sentence in image["sentences"]],
                "split": _split(image["split"]),
            }
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(
            f"{path} is not Karpathy's: images need filename, split and sentences with raw "
            f"({type(error).__name__}: {' '.join(str(error).split())[:100]})"
        ) from error


def _is_csv(text: str) -> bool:
    return {"filename", "raw"} <= set(text.partition("\n")[0].strip().split(","))


def _csv(text: str, path: str) -> Iterator[Mapping[str, Any]]:
    for row in csv.DictReader(io.StringIO(text, newline="")):
        try:
            captions = json.loads(row["raw"] or "")
        except ValueError as error:
            raise ValueError(f"{path}: raw {row['raw']!r:.80} is no JSON list") from error
        yield {
            "file_name": row["filename"],
            "captions": captions,
            "split": _split(row.get("split") or "test"),
        }


def _lines(text: str, path: str) -> Iterator[Mapping[str, Any]]:
    captions: dict[str, list[str]] = {}
    for line in text.splitlines():
        if match := _LINE.fullmatch(line.strip()):
            captions.setdefault(match[1], []).append(match[2])
    for name, own in captions.items():
        yield {"file_name": name, "captions": own}


def _split(name: str) -> str:
    return "train" if name == "restval" else name
