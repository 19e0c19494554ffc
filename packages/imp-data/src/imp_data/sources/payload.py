"""Payload: where inside a file an item's media lie, and how their bytes are got at on a worker."""

import base64
import binascii
import csv
import dataclasses
import functools
import json
import threading
from typing import TYPE_CHECKING, Any, TypeAlias

from imp_data.media.limits import Limits, MediaError
from imp_data.sources import files
from imp_data.sources.cifar_pickle import CifarRow

if TYPE_CHECKING:
    import pyarrow as pa

# Row groups kept decoded: a shard's items lie all over a file.
_CACHED_GROUPS = 4
_reading = threading.Lock()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Span:
    """Bytes of a file, such as a tar's member."""

    offset: int
    num_bytes: int

    def read(self, path: str, limits: Limits) -> bytes:
        limits.check_size(self.num_bytes)
        return files.read_bytes(path, offset=self.offset, num_bytes=self.num_bytes)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextCell:
    """Base64 in a row of a text file: `span` is the row, `column` the cell's number or key.

    `delimiter` is that of CSV or TSV; None is a line of JSON.
    """

    span: Span
    column: int | str
    delimiter: str | None

    def read(self, path: str, limits: Limits) -> bytes:
        row = self.span.read(path, limits).decode("utf-8-sig", errors="surrogateescape")
        try:
            return base64.b64decode("".join(self._cell(row).split()), validate=True)
        except (binascii.Error, ValueError) as error:
            raise MediaError(f"column {self.column!r} is not base64: {error}") from error
        except (csv.Error, LookupError, TypeError, AttributeError) as error:
            raise MediaError(f"the row in {path} has changed since it was listed") from error

    def _cell(self, row: str) -> str:
        if self.delimiter is None:
            cell: str = json.loads(row)[self.column]
            return cell
        rows = csv.reader([row], delimiter=self.delimiter, strict=True)
        return next(iter(rows), [])[int(self.column)]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ParquetCell:
    """Row `row` of a row group; `column` is binary, or with a `field` a struct that holds it.

    Row groups are decoded whole: read them in the file's order.
    """

    row_group: int
    row: int
    column: str
    field: str | None

    def read(self, path: str, limits: Limits) -> bytes:
        import pyarrow as pa

        try:
            # Arrow's readers are not for several threads; the others find what the first one read.
            with _reading:
                status = files.status(path)
                chunk = row_group_column(path, status, self.row_group, self.column, self.field)
                value = chunk[self.row]
        except (pa.ArrowException, IndexError) as error:
            reason = str(error).strip().splitlines()[0]
            raise MediaError(f"row group {self.row_group} can't be read: {reason}") from error
        data = value.as_py()
        if data is None:
            raise MediaError(f"column {self.column!r} is empty")
        limits.check_size(len(data))
        return bytes(data)


Payload: TypeAlias = Span | TextCell | ParquetCell | CifarRow


@functools.lru_cache(maxsize=_CACHED_GROUPS)
def row_group_column(
    path: str, status: tuple[int, str], row_group: int, column: str, field: str | None
) -> "pa.ChunkedArray[Any]":
    """One column of one row group; the latest few are kept. `status` is the file's."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    with files.open_binary(path) as file:
        # Pages that carry a checksum have it checked.
        parquet = pq.ParquetFile(file, page_checksum_verification=True)
        name = column if field is None else f"{column}.{field}"
        chunk = parquet.read_row_group(row_group, columns=[name], use_threads=False).column(column)
    return chunk if field is None else pc.struct_field(chunk, field)
