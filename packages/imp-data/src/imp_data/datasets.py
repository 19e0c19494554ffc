"""Dataset: where a built dataset lies and what its examples carry. Its manifest says it all."""

import dataclasses
import json
import os
import pathlib
from functools import cached_property

import numpy as np
from google.protobuf import json_format

from imp_data import views as views_lib
from imp_data.stores.atomic import write_file
from imp_data.views import View
from imp_proto.v1 import manifest_pb2

FORMAT = 2
MANIFEST = "manifest.json"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Dataset:
    """A dataset on disk. `num_examples` by split are its sampling weights too."""

    name: str
    path: pathlib.Path
    modalities: tuple[str, ...]
    num_examples: dict[str, int]
    label_names: tuple[str, ...]
    views: tuple[View, ...]
    formats: tuple[str, ...]
    plan_digest: str

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Dataset":
        """Raises FileNotFoundError or ValueError when `path` holds no whole dataset."""
        manifest = read_manifest(pathlib.Path(path))
        return cls(
            name=manifest.name,
            path=pathlib.Path(path),
            modalities=tuple(manifest.modalities),
            num_examples={split.name: split.num_examples for split in manifest.splits},
            label_names=tuple(manifest.labels),
            views=tuple(views_lib.from_json(json.loads(view.json)) for view in manifest.views),
            formats=tuple(manifest.formats),
            plan_digest=manifest.plan_digest,
        )

    @cached_property
    def manifest(self) -> manifest_pb2.Manifest:
        return read_manifest(self.path)

    def rows(self, split: str) -> np.ndarray:
        """int64 [n]: the array row of each example; rejected inputs leave gaps at shards' ends."""
        size = {entry.name: entry.shard_size for entry in self.manifest.splits}[split]
        parts = [
            receipt.shard * size + np.arange(receipt.num_examples)
            for receipt in self._receipts(split)
        ]
        return np.concatenate(parts) if parts else np.zeros(0, np.int64)

    def examples(self, split: str) -> "Examples":
        """Ids, texts and labels of a split, all in memory. Raises ValueError for a damaged file."""
        ids: list[str] = []
        texts: list[tuple[str, ...]] = []
        label_sets: list[tuple[int, ...]] = []
        for receipt in self._receipts(split):
            path = self.path / examples_path(split, receipt.shard)
            if not path.is_file():
                raise ValueError(f"{path} is missing; rebuild the dataset with imp-data build")
            for line in path.read_text(encoding="utf-8").splitlines():
                row = json.loads(line)
                ids.append(row["id"])
                texts.append(tuple(row["texts"]))
                label_sets.append(tuple(row["labels"]))
        if len(ids) != self.num_examples[split]:
            raise ValueError(f"{self.path}: {split} has {len(ids)} rows; run imp-data verify")
        return Examples(ids=tuple(ids), texts=tuple(texts), label_sets=tuple(label_sets))

    def check_split(self, split: str) -> None:
        """Raises ValueError for a split that the dataset lacks."""
        if split not in self.num_examples:
            raise ValueError(
                f"dataset {self.name} has no split {split!r}; it has {', '.join(self.num_examples)}"
            )

    def _receipts(self, split: str) -> list[manifest_pb2.Receipt]:
        chosen = [receipt for receipt in self.manifest.shards if receipt.split == split]
        return sorted(chosen, key=lambda receipt: receipt.shard)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Examples:
    """What a split's examples are called and labelled; `label_sets` rise within each example."""

    ids: tuple[str, ...]
    texts: tuple[tuple[str, ...], ...]
    label_sets: tuple[tuple[int, ...], ...]

    @cached_property
    def labels(self) -> np.ndarray:
        """int32 [n]: the one label of each example, -1 where it has none or several."""
        return np.array([own[0] if len(own) == 1 else -1 for own in self.label_sets], np.int32)


def examples_path(split: str, shard: int) -> str:
    """Relative path of a shard's ids, texts and labels, one JSON object a line."""
    return f"examples/{split}/{shard:05d}.jsonl"


def read_manifest(path: pathlib.Path) -> manifest_pb2.Manifest:
    """Raises FileNotFoundError or ValueError, one line that says what to do."""
    file = path / MANIFEST
    if not file.is_file():
        raise FileNotFoundError(
            f"no dataset at {path} ({MANIFEST} is missing); to make one: imp-data build --help"
        )
    try:
        manifest = json_format.Parse(file.read_bytes(), manifest_pb2.Manifest())
    except (json_format.ParseError, UnicodeDecodeError) as error:
        raise ValueError(f"{file} is not a manifest; rebuild it with --overwrite") from error
    if manifest.format != FORMAT:
        raise ValueError(
            f"{file} has format {manifest.format}, this imp-data reads {FORMAT}; "
            "rebuild it with --overwrite"
        )
    return manifest


def write_manifest(path: pathlib.Path, manifest: manifest_pb2.Manifest) -> None:
    """Written last and atomically: from now on `path` is a dataset."""
    text = json_format.MessageToJson(manifest, preserving_proto_field_name=True, indent=1)
    write_file(path / MANIFEST, text.encode())
