"""CSV and TSV manifests: a header line, then a row an example."""

import codecs
import csv
import io
from collections.abc import Iterator

from imp_data.sources import files
from imp_data.sources.item import Item
from imp_data.sources.payload import Payload, Span, TextCell
from imp_data.sources.table import Context, Rows, broken

# A cell may hold a file in base64.
_MAX_CELL = 1 << 30


def read_delimited(location: str, context: Context, delimiter: str) -> Iterator[Item]:
    """Raises ValueError for a file that is no CSV: an unbalanced quote swallows what follows it."""
    paths = files.expand(location)
    names = files.relative_names(paths)
    for path in paths:
        yield from _read(path, names[path], context, delimiter)


def _read(path: str, name: str, context: Context, delimiter: str) -> Iterator[Item]:
    lines = Lines(path)
    csv.field_size_limit(max(csv.field_size_limit(), _MAX_CELL))
    # Strict: an unbalanced quote is an error, where it would else swallow the lines that follow.
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    try:
        header = next(reader, [])
        rows = Rows(context=context, manifest=path, name=name, names=tuple(header), separated=True)
        inside = context.column("bytes", header)
        if not inside and not context.column("path", header):
            raise ValueError(f"{path} has no column 'path'; its first line must name the columns")
        for cells in _rows(reader, lines):
            place, span = lines.row()
            if not cells:
                continue
            row = dict(zip(header, cells, strict=False))
            if len(cells) != len(header):
                problem = f"has {len(cells)} fields, the header {len(header)}; quote commas"
                yield broken(f"{name}:{place}", path, problem, context.split_of(path))
                continue

            # A column named image holds a path, unless the user says bytes.
            payload: Payload | None = None
            if inside and row[inside] and (inside == "bytes" or "bytes" in context.columns):
                payload = TextCell(span=span, column=header.index(inside), delimiter=delimiter)
            yield rows.item(row, place, payload)
    except csv.Error as error:
        raise ValueError(
            f"{path}:{lines.row()[0]} is no CSV ({error}); double a quote that is meant as such"
        ) from error


def _rows(reader: Iterator[list[str]], lines: "Lines") -> Iterator[list[str]]:
    while True:
        lines.mark()
        cells = next(reader, None)
        if cells is None:
            return
        yield cells


class Lines:
    """A file's lines as text, UTF-8 with or without a byte-order mark, and where each row lies.

    Bytes that are not UTF-8 stay marked, for their item's rejection.
    """

    def __init__(self, path: str) -> None:
        data = files.read_bytes(path)
        if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            raise ValueError(f"{path} is UTF-16; save it as UTF-8")
        self._lines = io.BytesIO(data).readlines()
        self._next = self._marked = 0
        self._offset = self._start = 0

    def mark(self) -> None:
        """A row begins at the next line."""
        self._marked, self._start = self._next, self._offset

    def row(self) -> tuple[int, Span]:
        """The number of the marked row's first line, from 1, and its bytes up to here."""
        return self._marked + 1, Span(offset=self._start, num_bytes=self._offset - self._start)

    def __iter__(self) -> "Lines":
        return self

    def __next__(self) -> str:
        if self._next == len(self._lines):
            raise StopIteration
        line = self._lines[self._next]
        encoding = "utf-8" if self._next else "utf-8-sig"
        self._next += 1
        self._offset += len(line)
        return line.decode(encoding, errors="surrogateescape")
