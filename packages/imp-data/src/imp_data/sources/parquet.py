"""Parquet, also as Hugging Face datasets write it: media as bytes, or {bytes, path}, or paths."""

import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from imp_data.sources import files
from imp_data.sources.item import Item
from imp_data.sources.payload import ParquetCell
from imp_data.sources.table import ROLES, Context, Rows, broken

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

# What stands for "no label" where labels are numbers of named classes.
_UNLABELLED = -1


def read_parquet(location: str, context: Context) -> Iterator[Item]:
    """A file that Arrow can't read is one broken item. The media are not read here.

    Raises ValueError for a table without a column of media.
    """
    import pyarrow as pa

    paths = files.expand(location)
    names = files.relative_names(paths)
    for path in paths:
        try:
            yield from _read(path, names[path], context)
        except (pa.ArrowException, OSError, IndexError) as error:
            reason = " ".join(str(error).split())[:200]
            problem = f"is no readable Parquet: {reason}"
            yield broken(names[path], path, problem, context.split_of(path))


def _read(path: str, name: str, context: Context) -> Iterator[Item]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with files.open_binary(path) as file:
        parquet = pq.ParquetFile(file, page_checksum_verification=True)
        schema = parquet.schema_arrow
        media = context.column("bytes", schema.names)
        if not media and not context.column("path", schema.names):
            raise ValueError(
                f"{path} has no column 'path', 'bytes' or 'image'; name it with --columns"
            )
        kind = pa.string() if media is None else schema.field(media).type
        field = "bytes" if pa.types.is_struct(kind) else None
        stored = field is not None or pa.types.is_binary(kind) or pa.types.is_large_binary(kind)
        words = [c for c in _wanted(schema.names, context) if not (stored and c == media)]
        paths = [f"{media}.path"] if field and kind.get_field_index("path") >= 0 else []
        classes = _class_names(schema)
        rows = Rows(
            context=context, manifest=path, name=name, names=tuple(schema.names), separated=False
        )
        count = 0
        for group in range(parquet.num_row_groups):
            held = stored and not _is_empty(parquet, group, f"{media}.{field}" if field else media)
            table = parquet.read_row_group(group, columns=words + paths, use_threads=False)
            for number in range(parquet.metadata.row_group(group).num_rows):
                row = {c: table.column(c)[number].as_py() for c in table.column_names}
                if paths:
                    row[media] = (row[media] or {}).get("path")
                row |= {c: _named(row[c], names) for c, names in classes.items() if c in row}
                cell = ParquetCell(row_group=group, row=number, column=media or "", field=field)
                yield rows.item(row, count, cell if held else None)
                count += 1


def _wanted(names: Sequence[str], context: Context) -> list[str]:
    """The columns that have a role."""
    found = (context.column(role, list(names)) for role in ROLES)
    return list(dict.fromkeys(column for column in found if column is not None))


def _is_empty(parquet: "pq.ParquetFile", group: int, leaf: str | None) -> bool:
    """Whether a row group's column is known to hold nulls alone: the files then lie elsewhere."""
    meta = parquet.metadata.row_group(group)
    for number in range(meta.num_columns):
        column = meta.column(number)
        if column.path_in_schema == leaf and (found := column.statistics) is not None:
            return bool(found.has_null_count and found.null_count == meta.num_rows)
    return False


def _class_names(schema: "pa.Schema") -> dict[str, list[str]]:
    """column -> its classes' names, from what Hugging Face datasets write into the schema."""
    try:
        text = (schema.metadata or {}).get(b"huggingface", b"{}")
        features = json.loads(text).get("info", {}).get("features", {})
    except (ValueError, AttributeError):
        return {}
    found = {}
    for column, feature in features.items() if isinstance(features, dict) else ():
        while isinstance(feature, list) and feature:
            feature = feature[0]
        if isinstance(feature, dict) and isinstance(feature.get("feature"), dict):
            feature = feature["feature"]
        if isinstance(feature, dict) and isinstance(feature.get("names"), list):
            found[column] = [str(name) for name in feature["names"]]
    return found


def _named(value: Any, names: Sequence[str]) -> Any:
    """Class numbers as names; a number that has none stays, for all to see."""
    if isinstance(value, list):
        return [_named(each, names) for each in value]
    if not isinstance(value, int) or value == _UNLABELLED:
        return None if value == _UNLABELLED else value
    return names[value] if 0 <= value < len(names) else value
