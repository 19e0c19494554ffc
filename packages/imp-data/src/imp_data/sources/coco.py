"""COCO captions: one JSON file of images and of annotations, each a caption of an image."""

import json
from collections.abc import Iterator
from typing import Any

from imp_data.sources import files
from imp_data.sources.item import Item
from imp_data.sources.table import Context, Rows, broken


def read_coco(location: str, context: Context) -> Iterator[Item]:
    """An item an image, its captions in the file's order. Raises ValueError for other JSON."""
    paths = files.expand(location)
    names = files.relative_names(paths)
    for path in paths:
        yield from _read(path, names[path], context)


def _read(path: str, name: str, context: Context) -> Iterator[Item]:
    try:
        content = json.loads(files.read_bytes(path).decode("utf-8-sig"))
        images, annotations = content["images"], content["annotations"]
        captions: dict[Any, list[Any]] = {image["id"]: [] for image in images}
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(
            f"{path} is not COCO captions: it needs images, each with an id, and annotations "
            f"({type(error).__name__}: {' '.join(str(error).split())[:100]})"
        ) from error
    strays = []
    for number, annotation in enumerate(annotations):
        owner = annotation.get("image_id") if isinstance(annotation, dict) else None
        if isinstance(owner, int | str) and owner in captions:
            captions[owner].append(annotation.get("caption"))
        else:
            strays.append((number, owner))
    rows = Rows(
        context=context,
        manifest=path,
        name=name,
        names=("file_name", "captions"),
        separated=False,
    )
    for number, image in enumerate(images):
        row = {"file_name": image.get("file_name"), "captions": captions[image["id"]]}
        yield rows.item(row, f"images[{number}]")
    for number, owner in strays:
        where = f"{name}:annotations[{number}]"
        problem = f"is of image {owner!r}, which is not among the images"
        yield broken(where, path, problem, context.split_of(path))
