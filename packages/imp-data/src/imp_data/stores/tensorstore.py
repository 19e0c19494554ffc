"""One view's array: zarr3 with `sharding_indexed`, read by TensorStore, written shard by shard.

The array is [rows, *view.shape]. An inner chunk is one example, as `[bytes, crc32c]`; an outer
chunk is one shard of the plan, one file. Rows of rejected examples are absent at their shard's
end, and reading an absent row is an error, never zeros.
"""

import json
import pathlib

import google_crc32c
import numpy as np
import tensorstore as ts

from imp_data.stores.atomic import AtomicFile, write_file
from imp_data.views import View

_ABSENT = np.uint64(2**64 - 1)
_DTYPES = {"uint8": "u1", "float32": "<f4", "int32": "<i4"}


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
    ends = [{"name": "bytes"}, {"name": "crc32c"}]
    if view.dtype != "uint8":
        ends[0]["configuration"] = {"endian": "little"}  # type: ignore[assignment]
    metadata = {
        "zarr_format": 3,
        "node_type": "array",
        "shape": [num_shards * shard_size, *view.shape],
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
    write_file(path, json.dumps(metadata, indent=1).encode())
    return path


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
        chunk = np.ascontiguousarray(array, _DTYPES[self._view.dtype]).tobytes()
        self._index[self._count] = (self._file.num_bytes, len(chunk) + 4)
        self._file.write(chunk)
        self._file.write(google_crc32c.value(chunk).to_bytes(4, "little"))
        self._count += 1

    def finish(self) -> None:
        index = self._index.tobytes()
        self._file.write(index)
        self._file.write(google_crc32c.value(index).to_bytes(4, "little"))


class ArrayReader:
    """Batched random access to one view of one split; checksums are verified."""

    def __init__(self, root: pathlib.Path, split: str, view: View) -> None:
        """Raises ValueError when there is no such array."""
        path = array_path(root, split, view)
        try:
            self._array = ts.open(
                {
                    "driver": "zarr3",
                    "kvstore": {"driver": "file", "path": f"{path}/"},
                    "fill_missing_data_reads": False,
                },
                open=True,
                read=True,
            ).result()
        except ValueError as error:
            raise ValueError(f"{path} is no readable array; rebuild the dataset") from error
        self._path = path

    def read(self, rows: np.ndarray) -> np.ndarray:
        """int64 [b] -> [b, *view.shape]. Raises ValueError for a missing or corrupt row."""
        try:
            return self._array[rows].read().result()
        except ValueError as error:
            reason = str(error).splitlines()[0][:300]
            raise ValueError(f"{self._path} is damaged (imp-data verify): {reason}") from error
