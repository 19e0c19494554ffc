"""Dataset: where a built dataset lies and what its examples carry. Its manifest says it all."""

import dataclasses
import json
import os
import pathlib

from google.protobuf import json_format

from imp_data import views as views_lib
from imp_data.stores.atomic import write_file
from imp_data.stores.examples import Examples, examples_path
from imp_data.stores.shards import Shards
from imp_data.views import View
from imp_proto.v1 import manifest_pb2

FORMAT = 4
MANIFEST = "manifest.json"
# Of a split's JSON lines: below it what was read stays in memory, at several times the size.
_KEPT_BYTES = 8 << 20
# Of a split's examples: below it their single labels stay in memory, at four bytes each.
_KEPT_LABELS = 8 << 20


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
    manifest: manifest_pb2.Manifest = dataclasses.field(repr=False, compare=False)

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
            manifest=manifest,
        )

    def shards(self, split: str) -> Shards:
        """Where its examples lie; rejected inputs leave gaps at shards' ends."""
        return Shards.of((receipt.shard, receipt.num_examples) for receipt in self._receipts(split))

    def examples(self, split: str) -> Examples:
        """Ids, texts and labels of a split, read from disk when they are asked for."""
        receipts = self._receipts(split)
        lines = {examples_path(split, receipt.shard) for receipt in receipts}
        sizes = (f.num_bytes for receipt in receipts for f in receipt.files if f.path in lines)
        shards = self.shards(split)
        return Examples(
            self.path,
            split,
            shards,
            keep=sum(sizes) <= _KEPT_BYTES,
            keep_labels=len(shards) <= _KEPT_LABELS,
        )

    def num_captioned(self, split: str) -> int:
        """Examples with at least one caption."""
        return sum(receipt.num_captioned for receipt in self._receipts(split))

    def num_labelled(self, split: str) -> int:
        """Examples with at least one label."""
        return sum(receipt.num_labelled for receipt in self._receipts(split))

    def num_single_label(self, split: str) -> int:
        """Examples with one label and no more."""
        return sum(receipt.num_single_label for receipt in self._receipts(split))

    def check_split(self, split: str) -> None:
        """Raises ValueError for a split that the dataset lacks."""
        if split not in self.num_examples:
            raise ValueError(
                f"dataset {self.name} has no split {split!r}; it has {', '.join(self.num_examples)}"
            )

    def _receipts(self, split: str) -> list[manifest_pb2.Receipt]:
        return [receipt for receipt in self.manifest.shards if receipt.split == split]


def read_manifest(path: pathlib.Path) -> manifest_pb2.Manifest:
    """Raises FileNotFoundError or ValueError, one line that says what to do."""
    file = path / MANIFEST
    if not file.is_file():
        # A folder of datasets, or what the quickstart wrote: data/ has them.
        if below := sorted([*path.glob(f"*/{MANIFEST}"), *path.glob(f"data/*/{MANIFEST}")]):
            raise FileNotFoundError(
                f"no dataset at {path}; {below[0].parent} is one: name that, or another there"
            )
        raise FileNotFoundError(
            f"no dataset at {path} ({MANIFEST} is missing); to make one: imp-data build --help"
        )
    try:
        fields = json.loads(file.read_bytes())
        # Before all else is read: another format may have other fields.
        _check_format(file, fields.get("format"))
        return json_format.ParseDict(fields, manifest_pb2.Manifest())
    except (json_format.ParseError, json.JSONDecodeError, UnicodeDecodeError, AttributeError):
        raise ValueError(f"{file} is not a manifest; rebuild it with --overwrite") from None


def _check_format(file: pathlib.Path, found: object) -> None:
    if found == FORMAT:
        return
    newer = isinstance(found, int) and found > FORMAT
    raise ValueError(
        f"{file} has format {found}, this imp-data reads {FORMAT}; "
        + ("a newer imp-data wrote it: upgrade" if newer else "rebuild it with --overwrite")
    )


def write_manifest(path: pathlib.Path, manifest: manifest_pb2.Manifest) -> None:
    """Written last and atomically: from now on `path` is a dataset."""
    text = json_format.MessageToJson(manifest, preserving_proto_field_name=True, indent=1)
    write_file(path / MANIFEST, text.encode())
