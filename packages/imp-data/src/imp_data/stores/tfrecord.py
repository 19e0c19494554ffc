"""TFRecord files without TensorFlow: length, its checksum, data, its checksum."""

import mmap
import pathlib
import struct
from collections.abc import Iterator

import google_crc32c
import numpy as np

from imp_data.stores.atomic import AtomicFile

_HEADER = struct.Struct("<QI")
_FOOTER = struct.Struct("<I")


def masked_crc(data: bytes) -> int:
    """TFRecord's checksum: crc32c rotated right by 15 bits, plus a constant."""
    crc = google_crc32c.value(data)
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def write(file: AtomicFile, record: bytes) -> None:
    """Appends one record."""
    length = struct.pack("<Q", len(record))
    file.write(length + _FOOTER.pack(masked_crc(length)))
    file.write(record)
    file.write(_FOOTER.pack(masked_crc(record)))


class TFRecordReader:
    """Random access to one file's records; every read is checked."""

    def __init__(self, path: pathlib.Path) -> None:
        """Raises FileNotFoundError, or ValueError when the file's framing is broken."""
        if not path.is_file():
            raise FileNotFoundError(f"no TFRecord file at {path}")
        self._path = path
        offsets: list[int] = []
        with open(path, "rb") as file:
            size = path.stat().st_size
            self._data: mmap.mmap | bytes = (
                mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if size else b""
            )
        position = 0
        while position < size:
            offsets.append(position)
            if position + _HEADER.size > size:
                raise ValueError(f"{path}: record {len(offsets) - 1} is cut short")
            length, crc = _HEADER.unpack_from(self._data, position)
            if masked_crc(self._data[position : position + 8]) != crc:
                raise ValueError(f"{path}: the length of record {len(offsets) - 1} is corrupt")
            position += _HEADER.size + length + _FOOTER.size
        if position > size:
            raise ValueError(f"{path}: record {len(offsets) - 1} is cut short")
        self._offsets = np.asarray(offsets, np.int64)

    def __len__(self) -> int:
        return len(self._offsets)

    def __getitem__(self, index: int) -> bytes:
        """Raises ValueError when the record's bytes don't match their checksum."""
        position = int(self._offsets[index])
        length, _ = _HEADER.unpack_from(self._data, position)
        start = position + _HEADER.size
        record = bytes(self._data[start : start + length])
        if masked_crc(record) != _FOOTER.unpack_from(self._data, start + length)[0]:
            raise ValueError(f"{self._path}: record {index} is corrupt")
        return record

    def __iter__(self) -> Iterator[bytes]:
        return (self[i] for i in range(len(self)))
