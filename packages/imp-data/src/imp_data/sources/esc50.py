"""ESC-50: meta/esc50.csv and audio/. Its five folds are the splits fold1 to fold5."""

import csv
import io
import posixpath
from collections.abc import Iterator

from imp_data.sources import files
from imp_data.sources.item import Item
from imp_data.sources.table import Context, broken

_COLUMNS = ("filename", "fold", "category")


def read_esc50(location: str, context: Context) -> Iterator[Item]:
    """The categories' "_" are read as spaces.

    Raises FileNotFoundError, and ValueError for another CSV.
    """
    root = files.local(location)
    path = posixpath.join(root, "meta", "esc50.csv")
    if files.status(path)[0] < 0:
        raise FileNotFoundError(f"no file {path}; write the folder that holds meta/ and audio/")
    text = files.read_bytes(path).decode("utf-8-sig", errors="replace")
    rows = csv.DictReader(io.StringIO(text, newline=""))
    if missing := [name for name in _COLUMNS if name not in (rows.fieldnames or ())]:
        raise ValueError(f"{path} has no column {missing[0]!r}; ESC-50's has")
    audio = posixpath.join(root, "audio")
    for row in rows:
        place = files.below(audio, row["filename"] or "")
        if place is None or not row["category"] or row["fold"] not in tuple("12345"):
            problem = f"needs a filename, a category and a fold of 1 to 5: {dict(row)!r}"
            yield broken(
                f"esc50.csv:{rows.line_num}", path, problem[:200], context.split or "fold1"
            )
            continue
        yield Item(
            id=row["filename"],
            path=place,
            labels=(row["category"].replace("_", " "),),
            split=context.split or f"fold{row['fold']}",
        )
