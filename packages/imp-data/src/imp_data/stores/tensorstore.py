"""One view's array: zarr3 with `sharding_indexed`, as TensorStore reads it, shard by shard.

The array is [rows, *view.shape]. An inner chunk is one example, as `[bytes, crc32c]`; an outer
chunk is one shard of the plan, one file. Rows of rejected examples are absent at their shard's
end, and reading an absent row is an error, never zeros.

We read the files ourselves: chunks are of one size and in order, so that a row's place is
arithmetic and costs one read. A general zarr reader, TensorStore too, loads a shard's whole index
for any row of it: 16 bytes an example of the shard, for random rows most of what it would read.
"""

import contextlib
import json
import os
import pathlib

import google_crc32c
import numpy as np

from imp_data.stores.atomic import AtomicFile, write_file
from imp_data.stores.shards import by_shard, opened, read_ahead
from imp_data.views import ON_DISK, View

_ABSENT = np.uint64(2**64 - 1)
_CRC_BYTES = 4


def array_path(root: pathlib.Path, split: str, view: View) -> pathlib.Path:
    return root / "tensorstore" / split / view.key


def shard_path(root: pathlib.Path, split: str, view: View, shard: int) -> pathlib.Path:
    zeros = ["0"] * len(view.shape)
    return array_path(root, split, view).joinpath("c", str(shard), *zeros)


def write_metadata(
    root: pathlib.Path, split: str, view: View, *, num_shards: int, shard_size: int
) -> pathlib.Path:
    """Writes the array's zarr.json; returns its path."""
    path = array_path(root, split, view) / "zarr.json"
    metadata = _metadata(view, num_rows=num_shards * shard_size, shard_size=shard_size)
    write_file(path, json.dumps(metadata, indent=1).encode())
    return path


def _metadata(view: View, *, num_rows: int, shard_size: int) -> dict[str, object]:
    ends: list[dict[str, object]] = [{"name": "bytes"}, {"name": "crc32c"}]
    if view.dtype != "uint8":
        ends[0]["configuration"] = {"endian": "little"}
    return {
        "zarr_format": 3,
        "node_type": "array",
        "shape": [num_rows, *view.shape],
        "data_type": view.dtype,
        "chunk_grid": {
            "name": "regular",
            "configuration": {"chunk_shape": [shard_size, *view.shape]},
        },
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": 0,
        "codecs": [
            {
                "name": "sharding_indexed",
                "configuration": {
                    "chunk_shape": [1, *view.shape],
                    "codecs": ends,
                    "index_codecs": [
                        {"name": "bytes", "configuration": {"endian": "little"}},
                        {"name": "crc32c"},
                    ],
                    "index_location": "end",
                },
            }
        ],
    }


class ShardWriter:
    """One shard file of one view: `append` examples in order, then `finish`."""

    def __init__(self, file: AtomicFile, view: View, shard_size: int) -> None:
        self._file = file
        self._view = view
        self._index = np.full((shard_size, 2), _ABSENT, "<u8")
        self._count = 0

    def append(self, array: np.ndarray) -> None:
        """`array` is as the view shapes it."""
        assert array.shape == self._view.shape
        assert array.dtype.name == self._view.dtype
        chunk = np.ascontiguousarray(array, ON_DISK[self._view.dtype]).tobytes()
        self._index[self._count] = (self._file.num_bytes, len(chunk) + _CRC_BYTES)
        self._file.write(chunk)
        self._file.write(google_crc32c.value(chunk).to_bytes(_CRC_BYTES, "little"))
        self._count += 1

    def finish(self) -> None:
        index = self._index.tobytes()
        self._file.write(index)
        self._file.write(google_crc32c.value(index).to_bytes(_CRC_BYTES, "little"))


class ArrayReader:
    """Batched random access to one view of one split; checksums are verified."""

    def __init__(self, root: pathlib.Path, split: str, view: View) -> None:
        """Raises ValueError when there is no such array, as `write_metadata` describes it."""
        path = array_path(root, split, view) / "zarr.json"
        try:
            found = json.loads(path.read_bytes())
            self.num_rows = int(found["shape"][0])
            self.shard_size = int(found["chunk_grid"]["configuration"]["chunk_shape"][0])
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise ValueError(f"{path} describes no readable array; rebuild the dataset") from error
        wanted = _metadata(view, num_rows=self.num_rows, shard_size=self.shard_size)
        if found != wanted:
            raise ValueError(f"{path} describes another array than {view.key}; rebuild the dataset")
        self._root, self._split, self._view = root, split, view

    def read(self, rows: np.ndarray) -> np.ndarray:
        """int64 [b] -> [b, *view.shape]. Raises ValueError for a missing or corrupt row."""
        view = self._view
        arrays = np.empty((len(rows), *view.shape), ON_DISK[view.dtype])
        chunks = arrays.reshape(len(rows), -1).view(np.uint8)
        crcs = np.empty(len(rows), "<u4")
        stride = chunks.shape[1] + _CRC_BYTES
        shards, offsets = np.divmod(rows, self.shard_size)
        offsets *= stride
        for group in by_shard(shards):
            with contextlib.ExitStack() as stack:
                reads = []
                for shard, places in group:
                    path = shard_path(self._root, self._split, view, shard)
                    file = stack.enter_context(opened(path))
                    for place, offset in zip(places.tolist(), offsets[places].tolist()):
                        read_ahead(file, offset, stride)
                        reads.append((path, file, place, offset))
                for path, file, place, offset in reads:
                    chunk = chunks[place]
                    size = os.preadv(file, [chunk.data, crcs[place : place + 1].data], offset)
                    if size != stride or google_crc32c.value(chunk) != crcs[place]:
                        raise ValueError(
                            f"{path} is damaged (imp-data verify): row {offset // stride} of the "
                            "shard is absent or changed"
                        )
        return arrays
