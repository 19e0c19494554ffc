"""Tiny captioned, labelled examples by the million, written as a build writes its shards."""

import json
from pathlib import Path

import numpy as np

from imp_data import datasets
from imp_data import views as views_lib
from imp_data.stores import tensorstore
from imp_data.stores.atomic import AtomicFile
from imp_data.stores.examples import Example, ExampleWriter, examples_path, index_path
from imp_data.views import ImageView
from imp_proto.v1 import manifest_pb2

VIEW = ImageView(size=4)
NUM_LABELS = 50
_NUM_SHARDS = 16


def caption(number: int) -> str:
    return f"thing {number} of the kind {number % NUM_LABELS}"


def write(path: Path, count: int) -> Path:
    """Example i is grey i % 251, of label i % NUM_LABELS; nothing happens where it lies there."""
    if (path / datasets.MANIFEST).is_file():
        return path
    size = -(-count // _NUM_SHARDS)
    manifest = manifest_pb2.Manifest(
        format=datasets.FORMAT,
        name=path.name,
        modalities=["image", "text"],
        labels=[f"kind {number:02}" for number in range(NUM_LABELS)],
        formats=["tensorstore"],
        source="synthetic",
    )
    manifest.views.add(key=VIEW.key, json=json.dumps(views_lib.to_json(VIEW)))
    manifest.splits.add(name="train", num_examples=count, shard_size=size)
    starts = range(0, count, size)
    tensorstore.write_metadata(path, "train", VIEW, num_shards=len(starts), shard_size=size)
    for shard, start in enumerate(starts):
        members = range(start, min(start + size, count))
        manifest.shards.append(_write_shard(path, shard, members, size))
    datasets.write_manifest(path, manifest)
    return path


def _write_shard(path: Path, shard: int, members: range, size: int) -> manifest_pb2.Receipt:
    with (
        AtomicFile(tensorstore.shard_path(path, "train", VIEW, shard)) as arrays,
        AtomicFile(path / examples_path("train", shard)) as lines,
        AtomicFile(path / index_path("train", shard)) as index,
    ):
        writer, examples = (
            tensorstore.ShardWriter(arrays, VIEW, size),
            ExampleWriter(lines, index),
        )
        for number in members:
            writer.append(np.full(VIEW.shape, number % 251, np.uint8))
            examples.append(
                Example(
                    id=f"{number:09}",
                    texts=(caption(number),),
                    labels=(number % NUM_LABELS,),
                )
            )
        writer.finish()
        examples.finish()
    receipt = manifest_pb2.Receipt(
        split="train",
        shard=shard,
        num_examples=examples.num_examples,
        num_captioned=examples.num_captioned,
        num_labelled=examples.num_labelled,
        num_single_label=examples.num_single_label,
    )
    for file in (arrays, lines, index):
        name = file.path.relative_to(path).as_posix()
        receipt.files.add(path=name, num_bytes=file.num_bytes, sha256=file.sha256)
    return receipt
