"""Sources: what lies there. A spec such as `folder:PATH` -> items, each an input and its words.

folder:PATH       class folders: [train/|test/|…]<label>/…/<file>; the label is the folder's name
glob:PATTERN      the files themselves, without labels
csv:FILE tsv:FILE a header line, then columns path or bytes (base64), caption, captions and labels
                  (split at "|"), label, split, start and end (seconds)
jsonl:FILE        one object a line with the same names; captions and labels are lists
parquet:FILE      the same columns; bytes, image, video or audio hold files, as Hugging Face's do
webdataset:FILE   tars of KEY.jpg, KEY.txt, KEY.cls, KEY.json
coco:FILE         COCO's captions
kinetics:FILE     label, youtube_id, time_start, time_end, split
audioset:FILE     # YTID, start_seconds, end_seconds, positive_labels
imagenet:FOLDER   train/ and val/ of a folder a synset, or val/ flat with its list
cifar10:FOLDER    the python batches; also cifar100
ucf101:FOLDER     ucfTrainTestlist/ and UCF-101/; or a pattern of split lists
hmdb51:FILES      CLASS_test_split1.txt
esc50:FOLDER      meta/esc50.csv and audio/
karpathy:FILE     Flickr30k or COCO in Karpathy's splits; flickr30k also reads its own lists
msrvtt:FILE       videos and sentences

FILE may be a pattern (`train-*.parquet`, `shards/{000..099}.tar`) and lie wherever fsspec reads
(`s3://`, `memory://`, …). A manifest's paths are relative to its folder, or to `root`, and may not
leave it. A row or file that is no use becomes an item with a `problem`, which is a reject.
"""

import collections
import dataclasses
import functools
import pathlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Literal, TypeAlias

from imp_data.media.limits import Limits
from imp_data.sources import files
from imp_data.sources.audioset import read_audioset
from imp_data.sources.cifar import cifar_classes, read_cifar
from imp_data.sources.coco import read_coco
from imp_data.sources.delimited import read_delimited
from imp_data.sources.esc50 import read_esc50
from imp_data.sources.folder import read_folder, read_glob
from imp_data.sources.hmdb51 import read_hmdb51
from imp_data.sources.imagenet import imagenet_classes, read_imagenet
from imp_data.sources.item import DEFAULT_SPLIT, SPLITS, SUFFIXES, Item
from imp_data.sources.jsonl import read_jsonl
from imp_data.sources.karpathy import read_karpathy
from imp_data.sources.kinetics import read_kinetics
from imp_data.sources.msrvtt import read_msrvtt
from imp_data.sources.parquet import read_parquet
from imp_data.sources.table import Context
from imp_data.sources.ucf101 import read_ucf101, ucf101_classes
from imp_data.sources.webdataset import read_webdataset

__all__ = [
    "CaptionFrom",
    "DEFAULT_SPLIT",
    "Item",
    "SPLITS",
    "check",
    "classes",
    "read",
    "read_bytes",
]

CaptionFrom: TypeAlias = Literal["stem"]
Reader: TypeAlias = Callable[[str, Context], Iterator[Item]]
READERS: dict[str, Reader] = {
    "folder": read_folder,
    "glob": read_glob,
    "csv": functools.partial(read_delimited, delimiter=","),
    "tsv": functools.partial(read_delimited, delimiter="\t"),
    "jsonl": read_jsonl,
    "parquet": read_parquet,
    "webdataset": read_webdataset,
    "coco": read_coco,
    "kinetics": read_kinetics,
    "audioset": read_audioset,
    "imagenet": read_imagenet,
    "cifar10": functools.partial(read_cifar, num_classes=10),
    "cifar100": functools.partial(read_cifar, num_classes=100),
    "ucf101": read_ucf101,
    "hmdb51": read_hmdb51,
    "esc50": read_esc50,
    "karpathy": read_karpathy,
    "flickr30k": read_karpathy,
    "msrvtt": read_msrvtt,
}
# Layouts that name their classes apart from the examples.
CLASSES: dict[str, Callable[[str], tuple[str, ...]]] = {
    "imagenet": imagenet_classes,
    "cifar10": functools.partial(cifar_classes, num_classes=10),
    "cifar100": functools.partial(cifar_classes, num_classes=100),
    "ucf101": ucf101_classes,
}


def read(
    spec: str,
    *,
    modalities: Iterable[str],
    caption_from: CaptionFrom | None = None,
    root: str | None = None,
    split: str | None = None,
    columns: Mapping[str, str] | None = None,
) -> list[Item]:
    """Every item of a source, in a fixed order, ids unique. Raises FileNotFoundError or ValueError.

    `modalities` are those whose views are wanted: a file must suit them all. `caption_from="stem"`
    captions a file that has no caption by its name, "-" and "_" read as spaces. `root` is the
    folder of a manifest's media, `split` that of items whose source names none, `columns` the
    columns of a table by their role.
    """
    kind, _, location = spec.partition(":")
    if kind not in READERS or not location:
        raise ValueError(f"source {spec!r} is unknown; write one of {':…, '.join(READERS)}:…")
    modalities = set(modalities)
    context = Context(
        suffixes=frozenset.intersection(*(SUFFIXES[modality] for modality in modalities)),
        timed=modalities != {"image"},
        root=root,
        split=split,
        columns=columns or {},
    )
    items = _placed(_unique(_sound(item) for item in READERS[kind](location, context)))
    if not items:
        raise ValueError(f"source {spec} holds no {' + '.join(sorted(modalities))} files")
    if caption_from == "stem":
        items = [item if item.texts or item.problem else _captioned(item) for item in items]
    return items


def classes(spec: str) -> tuple[str, ...] | None:
    """The classes that a source's layout names apart from its examples, in its order; else None."""
    kind, _, location = spec.partition(":")
    return CLASSES[kind](location) if kind in CLASSES else None


def check(items: list[Item], *, max_share: float) -> None:
    """Raises ValueError when more than `max_share` of the items are known to be no use."""
    problems = [item for item in items if item.problem is not None]
    if len(problems) > max_share * len(items):
        first = problems[0]
        raise ValueError(
            f"{first.id}: {first.problem} ({len(problems)} of {len(items)} inputs are no use; "
            "mend them, or allow more with --max-reject-share)"
        )


def _sound(item: Item) -> Item:
    """Labels go into the manifest: they must be text."""
    for label in item.labels:
        try:
            label.encode()
        except UnicodeEncodeError:
            return dataclasses.replace(item, labels=(), problem=f"label {label!r} is not UTF-8")
    return item


def _unique(items: Iterable[Item]) -> list[Item]:
    """The first item of each id; a later one is no use, as no one could tell them apart."""
    seen: collections.Counter[str] = collections.Counter()
    found = []
    for item in items:
        seen[item.id] += 1
        if seen[item.id] > 1:
            problem = item.problem or f"{item.id} is named twice; remove one"
            item = dataclasses.replace(item, id=f"{item.id} ({seen[item.id]})", problem=problem)
            seen[item.id] += 1
        found.append(item)
    return found


def _placed(items: list[Item]) -> list[Item]:
    """Items of no use lie in the others' splits: one of their own would have no examples."""
    splits = {item.split: None for item in items if item.problem is None}
    if not splits:
        return items
    first = next(iter(splits))
    return [
        item if item.split in splits else dataclasses.replace(item, split=first) for item in items
    ]


def _captioned(item: Item) -> Item:
    name = item.path if item.payload is None else item.id
    stem = pathlib.PurePath(name).stem.replace("-", " ").replace("_", " ")
    return dataclasses.replace(item, texts=(stem,))


def read_bytes(item: Item, limits: Limits) -> bytes:
    """The item's media; nothing over the limits is read. Raises OSError or MediaError."""
    if item.payload is not None:
        return item.payload.read(item.path, limits)
    with files.open_binary(item.path) as file:
        num_bytes = files.size(file)
        limits.check_size(num_bytes)
        return file.read(num_bytes)
