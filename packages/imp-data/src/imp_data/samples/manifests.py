"""The manifests of the sample corpora: CSV and JSON lines, as data engineers bring them."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path

from imp_data.samples.corpus import Row


def write_csv(folder: Path, rows: Sequence[Row]) -> None:
    """manifest.csv with the columns path,caption,split."""
    with (folder / "manifest.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("path", "caption", "split"))
        writer.writerows((row.path, row.caption, row.split) for row in rows)


def write_jsonl(folder: Path, rows: Sequence[Row]) -> None:
    """manifest.jsonl, one object {"path","caption","label","split"} a line."""
    with (folder / "manifest.jsonl").open("w", encoding="utf-8") as file:
        for row in rows:
            record = {
                "path": row.path,
                "caption": row.caption,
                "label": row.label,
                "split": row.split,
            }
            file.write(json.dumps(record, ensure_ascii=False) + "\n")


def write_nothing(folder: Path, rows: Sequence[Row]) -> None:
    """Class folders need no manifest: the folders are the labels."""
