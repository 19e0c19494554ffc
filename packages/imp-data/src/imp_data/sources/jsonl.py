"""JSON lines: one object an example."""

import json
from collections.abc import Iterator

from imp_data.sources import files
from imp_data.sources.delimited import Lines
from imp_data.sources.item import Item
from imp_data.sources.payload import Payload, TextCell
from imp_data.sources.table import Context, Rows, broken


def read_jsonl(location: str, context: Context) -> Iterator[Item]:
    """A line that is no JSON object is a broken item, named by file and line."""
    paths = files.expand(location)
    names = files.relative_names(paths)
    for path in paths:
        yield from _read(path, names[path], context)


def _read(path: str, name: str, context: Context) -> Iterator[Item]:
    lines = Lines(path)
    tables: dict[tuple[str, ...], Rows] = {}
    lines.mark()
    for line in lines:
        number, span = lines.row()
        lines.mark()
        if not line.strip():
            continue
        problem, row = _parse(line)
        if problem:
            yield broken(f"{name}:{number}", path, problem, context.split_of(path))
            continue

        rows = tables.get(tuple(row)) or Rows(
            context=context, manifest=path, name=name, names=tuple(row), separated=False
        )
        tables[rows.names] = rows
        payload: Payload | None = None
        column = context.columns.get("bytes", "bytes")
        if isinstance(row.get(column), str) and row[column]:
            payload = TextCell(span=span, column=column, delimiter=None)
        yield rows.item(row, number, payload)


def _parse(line: str) -> tuple[str | None, dict[str, object]]:
    try:
        row = json.loads(line)
    except RecursionError:
        return "is not JSON: nested too deep", {}
    except ValueError as error:
        return f"is not JSON: {getattr(error, 'msg', error)}", {}
    return (None, row) if isinstance(row, dict) else ("is not a JSON object", {})
