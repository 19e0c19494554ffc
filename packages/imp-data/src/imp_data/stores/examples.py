"""Examples' ids, texts and labels: JSON lines, and an index so that any line is one short read.

SHARD.jsonl has one object a line, for any tool to read. SHARD.index has for each line where it ends
(uint64), its crc32c (uint32) and its label if it has just one, else -1 (int32), little-endian; and
last the crc32c of all of these.
"""

import contextlib
import dataclasses
import json
import os
import pathlib
import struct
from collections.abc import Iterator

import google_crc32c
import numpy as np

from imp_data.stores.atomic import AtomicFile
from imp_data.stores.shards import Shards, by_shard, opened, read_ahead

_ENTRY = np.dtype([("end", "<u8"), ("crc", "<u4"), ("label", "<i4")])
_PACKED = struct.Struct("<QIi")
_CRC_BYTES = 4


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Example:
    """What an example is called, its captions, and its labels' indices, which rise."""

    id: str
    texts: tuple[str, ...] = ()
    labels: tuple[int, ...] = ()

    @property
    def single_label(self) -> int:
        """The label if there is just one, else -1."""
        return self.labels[0] if len(self.labels) == 1 else -1


def examples_path(split: str, shard: int) -> str:
    """Relative path of a shard's JSON lines."""
    return f"examples/{split}/{shard:05d}.jsonl"


def index_path(split: str, shard: int) -> str:
    """Relative path of the index beside them."""
    return f"examples/{split}/{shard:05d}.index"


class ExampleWriter:
    """One shard's lines and index: `append` in order, then `finish`. It counts what it writes."""

    def __init__(self, lines: AtomicFile, index: AtomicFile) -> None:
        self._lines = lines
        self._index = index
        self._entries = bytearray()
        self.num_examples = 0
        self.num_captioned = 0
        self.num_labelled = 0
        self.num_single_label = 0

    def append(self, example: Example) -> None:
        row = {"id": example.id, "texts": example.texts, "labels": example.labels}
        line = json.dumps(row).encode() + b"\n"
        self._lines.write(line)
        self._entries += _PACKED.pack(
            self._lines.num_bytes, google_crc32c.value(line), example.single_label
        )
        self.num_examples += 1
        self.num_captioned += bool(example.texts)
        self.num_labelled += bool(example.labels)
        self.num_single_label += len(example.labels) == 1

    def finish(self) -> None:
        entries = bytes(self._entries)
        self._index.write(entries)
        self._index.write(google_crc32c.value(entries).to_bytes(_CRC_BYTES, "little"))


class Examples:
    """A split's examples, read when asked for; each line's checksum is verified.

    Iterating streams them in order. Every read raises ValueError for a damaged or missing file.
    """

    def __init__(
        self,
        root: pathlib.Path,
        split: str,
        shards: Shards,
        *,
        keep: bool = False,
        keep_labels: bool = True,
    ) -> None:
        """`keep` holds on to what was read: for a split that is small and read over and over.

        `keep_labels` holds on to `single_labels`, four bytes an example; without it they are read
        with the lines.
        """
        self._root = root
        self._split = split
        self._shards = shards
        self._kept: dict[int, Example] | None = {} if keep else None
        self._labels: dict[int, np.ndarray] | None = {} if keep_labels else None

    def __len__(self) -> int:
        return len(self._shards)

    def read(self, index: np.ndarray) -> list[Example]:
        """int64 [b] -> b examples."""
        if self._kept is None:
            return self._read(index)
        kept = self._kept
        if new := [number for number in index.tolist() if number not in kept]:
            kept.update(zip(new, self._read(np.array(new, np.int64)), strict=True))
        return [kept[number] for number in index.tolist()]

    def single_labels(self, index: np.ndarray) -> np.ndarray:
        """int64 [b] -> int32 [b]: the label of those with just one, -1 for others."""
        if self._labels is None:
            return np.array([example.single_label for example in self.read(index)], np.int32)
        shards, rows = self._shards.locate(index)
        labels = np.empty(len(index), np.int32)
        for group in by_shard(shards):
            for shard, places in group:
                if (own := self._labels.get(shard)) is None:
                    own = self._labels[shard] = self._index(shard)["label"].copy()
                labels[places] = own[rows[places]]
        return labels

    def __iter__(self) -> Iterator[Example]:
        for shard, _ in self._shards:
            lines, _ = self._paths(shard)
            entries = self._index(shard)
            with opened(lines) as descriptor, open(descriptor, "rb", closefd=False) as file:
                start = 0
                for row, (end, crc, _) in enumerate(entries.tolist()):
                    yield _parsed(file.read(end - start), crc, lines, row)
                    start = end

    def __getstate__(self) -> dict[str, object]:
        """Another process starts with nothing kept."""
        empty: dict[str, dict[int, object]] = {
            name: {} for name in ("_kept", "_labels") if self.__dict__[name] is not None
        }
        return self.__dict__ | empty

    def _index(self, shard: int) -> np.ndarray:
        """All of a shard's entries, verified."""
        _, path = self._paths(shard)
        with opened(path) as descriptor:
            data = os.pread(descriptor, os.fstat(descriptor).st_size, 0)
        entries, crc = data[:-_CRC_BYTES], data[-_CRC_BYTES:]
        if (
            len(entries) != self._shards.count(shard) * _ENTRY.itemsize
            or google_crc32c.value(entries).to_bytes(_CRC_BYTES, "little") != crc
        ):
            raise ValueError(f"{path} is damaged (imp-data verify)")
        return np.frombuffer(entries, _ENTRY)

    def _paths(self, shard: int) -> tuple[pathlib.Path, pathlib.Path]:
        return (
            self._root / examples_path(self._split, shard),
            self._root / index_path(self._split, shard),
        )

    def _read(self, index: np.ndarray) -> list[Example]:
        shards, rows = self._shards.locate(index)
        found: dict[int, Example] = {}
        for group in by_shard(shards):
            with contextlib.ExitStack() as stack:
                entries = []
                for shard, places in group:
                    path, index_path = self._paths(shard)
                    lines = stack.enter_context(opened(path))
                    ends = stack.enter_context(opened(index_path))
                    size = os.fstat(lines).st_size
                    for place, row in zip(places.tolist(), rows[places].tolist()):
                        read_ahead(ends, row * _ENTRY.itemsize, _ENTRY.itemsize)
                        entries.append((path, lines, size, ends, place, row))
                spans = []
                for path, lines, size, ends, place, row in entries:
                    start, length, crc = _span(ends, row, size)
                    read_ahead(lines, start, length)
                    spans.append((path, lines, place, row, start, length, crc))
                for path, lines, place, row, start, length, crc in spans:
                    found[place] = _parsed(os.pread(lines, length, start), crc, path, row)
        return [found[place] for place in range(len(index))]


def _span(index: int, row: int, size: int) -> tuple[int, int, int]:
    """Where a line starts, its length and checksum; a length of 0 where the index can't be right.

    `size` is that of the lines' file: a damaged index must not ask for more memory than that.
    """
    first = max(row - 1, 0)
    wanted = (row - first + 1) * _ENTRY.itemsize
    data = os.pread(index, wanted, first * _ENTRY.itemsize)
    if len(data) != wanted:
        return 0, 0, 0
    start = int.from_bytes(data[:8], "little") if row else 0
    end, crc, _ = _PACKED.unpack(data[-_ENTRY.itemsize :])
    if not start < end <= size:
        return 0, 0, 0
    return start, end - start, crc


def _parsed(line: bytes, crc: int, path: pathlib.Path, row: int) -> Example:
    if not line or google_crc32c.value(line) != crc:
        raise ValueError(f"{path} or its index is damaged (imp-data verify): row {row}")
    fields = json.loads(line)
    return Example(id=fields["id"], texts=tuple(fields["texts"]), labels=tuple(fields["labels"]))
