"""One shard: read, decode, fit, write; whole, idempotent, and proved by a receipt."""

import collections
import concurrent.futures
import contextlib
import dataclasses
import math
import pathlib
from collections.abc import Iterator, Sequence

import numpy as np
from google.protobuf import json_format

from imp_data import media, records, sources
from imp_data.media import text
from imp_data.media.limits import DEFAULT_LIMITS, Limits, MediaError
from imp_data.pipelines.plan import ShardPlan
from imp_data.sources import Item
from imp_data.sources.payload import ParquetCell
from imp_data.stores import tensorstore, tfrecord
from imp_data.stores.atomic import AtomicFile, sha256_of, write_file
from imp_data.stores.examples import Example, ExampleWriter, examples_path, index_path
from imp_data.views import View
from imp_proto.v1 import manifest_pb2

# A thread decodes so many items in a turn, unless their arrays are large: handing over each alone
# would be felt beside decoding a small picture.
_TURN_ITEMS = 16
_TURN_BYTES = 2**20
_TURNS_AHEAD = 2


@dataclasses.dataclass(frozen=True, kw_only=True)
class ShardJob:
    """All that a worker needs to write one shard; `digest` is the plan's of it.

    `num_threads` decode at a time: decoders release the interpreter's lock.
    """

    out: str
    digest: str
    shard: ShardPlan
    shard_size: int
    labels: tuple[str, ...]
    views: tuple[View, ...]
    formats: tuple[str, ...]
    limits: Limits = DEFAULT_LIMITS
    num_threads: int = 1


def receipt_path(out: pathlib.Path, shard: str) -> pathlib.Path:
    return out / "receipts" / f"{shard}.json"


def read_receipt(out: pathlib.Path, shard: str) -> manifest_pb2.Receipt | None:
    """The receipt of the shard of this name; None for none or a damaged one."""
    path = receipt_path(out, shard)
    if not path.is_file():
        return None
    try:
        return json_format.Parse(path.read_bytes(), manifest_pb2.Receipt())
    except (json_format.ParseError, UnicodeDecodeError):
        return None


def valid_receipt(
    out: pathlib.Path, shard: str, digest: str, *, rehash: bool = True
) -> manifest_pb2.Receipt | None:
    """The shard's receipt if it was written for this digest and its files are what it says.

    Without `rehash` their lengths are looked at, not their checksums.
    """
    receipt = read_receipt(out, shard)
    if receipt is None or receipt.digest != digest:
        return None
    for file in receipt.files:
        written = out / file.path
        if not written.is_file() or written.stat().st_size != file.num_bytes:
            return None
        if rehash and sha256_of(written) != file.sha256:
            return None
    return receipt


def process_shard(job: ShardJob) -> manifest_pb2.Receipt:
    """Writes the shard's files, then its receipt; returns at once if a valid one lies there.

    A bad input is no error: it becomes a reject in the receipt.
    """
    out = pathlib.Path(job.out)
    if done := valid_receipt(out, job.shard.name, job.digest):
        return done
    receipt = manifest_pb2.Receipt(digest=job.digest, split=job.shard.split, shard=job.shard.shard)
    files: list[AtomicFile] = []
    with contextlib.ExitStack() as stack:
        arrays: dict[str, tensorstore.ShardWriter] = {}
        if "tensorstore" in job.formats:
            for view in job.views:
                path = tensorstore.shard_path(out, job.shard.split, view, job.shard.shard)
                file = stack.enter_context(AtomicFile(path))
                files.append(file)
                arrays[view.key] = tensorstore.ShardWriter(file, view, job.shard_size)
        tfrecords: AtomicFile | None = None
        if "tfrecord" in job.formats:
            path = out / "tfrecord" / f"{job.shard.name}.tfrecord"
            tfrecords = stack.enter_context(AtomicFile(path))
            files.append(tfrecords)
        lines, index = (
            stack.enter_context(AtomicFile(out / path(job.shard.split, job.shard.shard)))
            for path in (examples_path, index_path)
        )
        files += [lines, index]
        examples = ExampleWriter(lines, index)
        for item, result in _loaded(job):
            if isinstance(result, str):
                receipt.rejects.add(id=printable(item.id), reason=result)
                continue
            for key, writer in arrays.items():
                writer.append(result.arrays[key])
            if tfrecords is not None:
                tfrecord.write(tfrecords, records.to_bytes(result))
            examples.append(Example(id=result.id, texts=result.texts, labels=result.labels))
        for writer in arrays.values():
            writer.finish()
        examples.finish()
    receipt.num_examples = examples.num_examples
    receipt.num_captioned = examples.num_captioned
    receipt.num_labelled = examples.num_labelled
    receipt.num_single_label = examples.num_single_label
    for file in files:
        receipt.files.add(
            path=file.path.relative_to(out).as_posix(),
            num_bytes=file.num_bytes,
            sha256=file.sha256,
        )
    message = json_format.MessageToJson(receipt, preserving_proto_field_name=True)
    write_file(receipt_path(out, job.shard.name), message.encode())
    return receipt


def _loaded(job: ShardJob) -> Iterator[tuple[Item, records.Record | str]]:
    """Each item with its record, or the reason why it has none; in the shard's order."""
    items = job.shard.items
    if not any(isinstance(item.payload, ParquetCell) for item in items):
        yield from _load(job, items)
        return
    # Row groups are read once each, in the file's order; a shard's arrays fit into memory.
    order = sorted(range(len(items)), key=lambda i: _place(items[i]))
    loaded = dict(zip(order, _load(job, [items[i] for i in order]), strict=True))
    for i in range(len(items)):
        yield loaded.pop(i)


def _place(item: Item) -> tuple[str, int, int]:
    cell = item.payload
    if isinstance(cell, ParquetCell):
        return item.path, cell.row_group, cell.row
    return item.path, 0, 0


def _load(job: ShardJob, items: Sequence[Item]) -> Iterator[tuple[Item, records.Record | str]]:
    """In the order given, some decoded ahead."""
    if job.num_threads == 1:
        for item in items:
            yield item, load_item(job, item)
        return
    size = sum(math.prod(view.shape) * np.dtype(view.dtype).itemsize for view in job.views)
    turn = max(1, min(_TURN_ITEMS, _TURN_BYTES // size))

    def load(own: Sequence[Item]) -> list[tuple[Item, records.Record | str]]:
        return [(item, load_item(job, item)) for item in own]

    pending: collections.deque[concurrent.futures.Future[list[tuple[Item, records.Record | str]]]]
    pending = collections.deque()
    with concurrent.futures.ThreadPoolExecutor(job.num_threads, "decode") as pool:
        try:
            for start in range(0, len(items), turn):
                pending.append(pool.submit(load, items[start : start + turn]))
                if len(pending) > job.num_threads * _TURNS_AHEAD:
                    yield from pending.popleft().result()
            while pending:
                yield from pending.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


def load_item(job: ShardJob, item: Item) -> records.Record | str:
    """The item's record, or a one-line reason for rejecting it."""
    if item.problem is not None:
        return printable(item.problem)
    try:
        texts = tuple(text.clean(words, limits=job.limits) for words in item.texts)
        data = sources.read_bytes(item, job.limits)
        arrays = media.load_many(data, job.views, limits=job.limits, start=item.start, end=item.end)
    except MediaError as error:
        return str(error)
    except OSError as error:
        return f"can't be read: {error.strerror or type(error).__name__}"
    except UnicodeEncodeError:
        return "its name is not UTF-8"
    labels = tuple(sorted(job.labels.index(label) for label in item.labels))
    assert all(isinstance(array, np.ndarray) for array in arrays.values())
    return records.Record(id=printable(item.id), arrays=arrays, texts=texts, labels=labels)


def printable(identity: str) -> str:
    """File names that are not UTF-8 can't go into JSON or protobuf as they are."""
    return identity.encode("utf-8", "backslashreplace").decode()
