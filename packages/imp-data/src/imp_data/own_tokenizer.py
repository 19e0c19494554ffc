"""A dataset's own tokenizer: a copy of the model that its words are read by, with its checksum."""

import hashlib
import pathlib

from google.protobuf import json_format

from imp_data.datasets import Dataset, write_manifest
from imp_data.stores.atomic import sha256_of, write_file
from imp_data.stores.lock import sole_writer
from imp_data.tokenizer import Tokenizer
from imp_proto.v1 import manifest_pb2

FILE = "tokenizer.model"
# The manifest's entry, kept where a build that goes on finds it: it writes the manifest anew.
_RECEIPT = "receipts/tokenizer.json"


def give(path: pathlib.Path, tokenizer: Tokenizer) -> None:
    """From now on the dataset at `path` holds this tokenizer and no other.

    Raises what `Dataset.load` does; ValueError while another process writes there.
    """
    Dataset.load(path)
    with sole_writer(path):
        entry = manifest_pb2.File(
            path=FILE, num_bytes=len(tokenizer.model), sha256=_sha256(tokenizer)
        )
        write_file(path / FILE, tokenizer.model)
        message = json_format.MessageToJson(entry, preserving_proto_field_name=True)
        write_file(path / _RECEIPT, message.encode())
        manifest = Dataset.load(path).manifest
        manifest.tokenizer.CopyFrom(entry)
        write_manifest(path, manifest)


def given(path: pathlib.Path) -> manifest_pb2.File | None:
    """What `give` left in a folder whose manifest may be gone; None for nothing."""
    receipt = path / _RECEIPT
    if not receipt.is_file():
        return None
    return json_format.Parse(receipt.read_bytes(), manifest_pb2.File())


def load(dataset: Dataset) -> Tokenizer | None:
    """The dataset's own tokenizer, None if it holds none. Raises ValueError for a damaged one."""
    if not dataset.manifest.HasField("tokenizer"):
        return None
    file = dataset.path / dataset.manifest.tokenizer.path
    if not file.is_file() or sha256_of(file) != dataset.manifest.tokenizer.sha256:
        raise ValueError(
            f"{file} is missing or damaged (imp-data verify); give the dataset its tokenizer "
            "again: imp-data tokenizer --help"
        )
    return Tokenizer.load(file)


def holds(dataset: Dataset, tokenizer: Tokenizer) -> bool:
    """Whether it holds this one, by its manifest's word."""
    return dataset.manifest.tokenizer.sha256 == _sha256(tokenizer)


def check(dataset: Dataset, tokenizer: Tokenizer) -> None:
    """Raises ValueError where the dataset holds another: one word would be two ids."""
    if dataset.manifest.HasField("tokenizer") and not holds(dataset, tokenizer):
        own, other = dataset.manifest.tokenizer.sha256, _sha256(tokenizer)
        raise ValueError(
            f"dataset {dataset.name} holds tokenizer {own[:8]}, not {other[:8]}, which is to read "
            f"it; use {dataset.path / FILE}, or give it the other: imp-data tokenizer --model"
        )


def _sha256(tokenizer: Tokenizer) -> str:
    return hashlib.sha256(tokenizer.model).hexdigest()
