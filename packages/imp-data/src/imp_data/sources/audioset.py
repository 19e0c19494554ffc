"""AudioSet: `# YTID, start_seconds, end_seconds, positive_labels`, and a folder of recordings."""

import csv
import io
from collections.abc import Iterator, Mapping

from imp_data.sources import files
from imp_data.sources.clips import Clips
from imp_data.sources.item import Item
from imp_data.sources.table import Context, RowError, broken, times

CLASSES = "class_labels_indices.csv"


def read_audioset(location: str, context: Context) -> Iterator[Item]:
    """Several labels an item, by their names where CLASSES lies beside the CSV.

    The recordings lie below `root`, by default the CSV's folder. Raises ValueError for other CSV.
    """
    for path in files.expand(location):
        names = _class_names(f"{files.parent(path)}/{CLASSES}")
        clips = Clips(context, path)
        lines = files.read_bytes(path).decode("utf-8-sig", errors="surrogateescape").splitlines()
        for number, line in enumerate(lines, start=1):
            if not line.strip() or line.startswith("#"):
                continue
            where = f"{files.base_name(path)}:{number}"
            try:
                yield _item(line, path, clips, names, context)
            except RowError as error:
                yield broken(where, path, str(error), context.split_of(path))


def _item(line: str, path: str, clips: Clips, names: Mapping[str, str], context: Context) -> Item:
    try:
        cells = next(csv.reader([line], skipinitialspace=True, strict=True))
    except csv.Error as error:
        raise RowError(f"is no CSV ({error})") from error
    if len(cells) != 4 or not cells[0]:
        raise RowError(f'has {len(cells)} fields; write YTID, start_seconds, end_seconds, "labels"')
    start, end = times(cells[1], cells[2])
    labels = [label.strip() for label in cells[3].split(",") if label.strip()]
    return clips.item(
        cells[0],
        start,
        end,
        labels=tuple(dict.fromkeys(names.get(label, label) for label in labels)),
        split=context.split or ("test" if "eval" in files.base_name(path) else "train"),
    )


def _class_names(path: str) -> dict[str, str]:
    """mid -> display_name; empty where there is no such file."""
    if files.status(path)[0] < 0:
        return {}
    rows = csv.DictReader(io.StringIO(files.read_bytes(path).decode("utf-8-sig"), newline=""))
    if not {"mid", "display_name"} <= set(rows.fieldnames or ()):
        raise ValueError(f"{path} has no columns mid and display_name; AudioSet's has")
    return {row["mid"]: row["display_name"] for row in rows}
