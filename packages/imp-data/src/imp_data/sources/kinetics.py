"""Kinetics: a CSV of label, youtube_id, time_start, time_end and split, and a folder of videos."""

import csv
import io
from collections.abc import Iterator

from imp_data.sources import files
from imp_data.sources.clips import Clips
from imp_data.sources.item import Item
from imp_data.sources.table import Context, RowError, broken, check_split, times

_COLUMNS = ("youtube_id", "time_start", "time_end")


def read_kinetics(location: str, context: Context) -> Iterator[Item]:
    """The videos lie below `root`, by default the CSV's folder. Raises ValueError for other CSV."""
    for path in files.expand(location):
        text = files.read_bytes(path).decode("utf-8-sig", errors="surrogateescape")
        rows = csv.DictReader(io.StringIO(text, newline=""), strict=True)
        try:
            if missing := [name for name in _COLUMNS if name not in (rows.fieldnames or ())]:
                wanted = ", ".join(_COLUMNS)
                raise ValueError(f"{path} has no column {missing[0]!r}; Kinetics has {wanted}")
            clips = Clips(context, path)
            for row in rows:
                yield _item(row, f"{files.base_name(path)}:{rows.line_num}", path, clips, context)
        except csv.Error as error:
            raise ValueError(f"{path}:{rows.line_num + 1} is no CSV ({error})") from error


def _item(row: dict[str, str], where: str, path: str, clips: Clips, context: Context) -> Item:
    try:
        start, end = times(row["time_start"], row["time_end"])
        split = check_split(row.get("split") or context.split_of(path))
        if not row["youtube_id"]:
            raise RowError("has no youtube_id")
    except RowError as error:
        return broken(where, path, str(error), context.split_of(path))
    labels = (row["label"],) if row.get("label") else ()
    return clips.item(row["youtube_id"], start, end, labels=labels, split=split)
