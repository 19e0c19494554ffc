"""What sources' tests are made of: four grey pictures, tables and tars of them, and their build."""

import base64
import csv
import io
import json
import tarfile

import numpy as np
import pytest
from PIL import Image

from imp_data import sources
from imp_data.pipelines.build import build_dataset
from imp_data.stores.rows import Rows
from imp_data.views import ImageView

LEVELS = {"a": 20, "b": 90, "c": 160, "d": 230}
IMAGE = ImageView(size=4)
ROWS = [
    {"path": "x/a.png", "captions": ["one", "two"], "labels": ["r", "s"], "split": "train"},
    {"path": "x/b.png", "captions": ['red, "big"'], "labels": ["s"], "split": "train"},
    {"path": "x/c.png", "captions": [], "labels": [], "split": "train"},
    {"path": "x/d.png", "captions": ["Äpfel\nund Birnen"], "labels": ["r"], "split": "test"},
]


@pytest.fixture
def root(tmp_path):
    (tmp_path / "x").mkdir()
    for name, level in LEVELS.items():
        (tmp_path / f"x/{name}.png").write_bytes(png(level))
    return tmp_path


def read(spec, **options):
    return sources.read(spec, **({"modalities": ["image"]} | options))


def png(level):
    out = io.BytesIO()
    Image.new("RGB", (8, 8), (level,) * 3).save(out, "PNG")
    return out.getvalue()


def built(spec, out, view=IMAGE, **options):
    """{split: [(id, number that the arrays show, texts, label names)]} in order of ids."""
    dataset = build_dataset(source=spec, out=out, views=[view], progress=False, **options)
    found = {}
    for split, count in dataset.num_examples.items():
        examples = dataset.examples(split)
        arrays = Rows(dataset, split, view).read(np.arange(count))
        shown = arrays.argmax(-1).max(-1) if view.modality == "audio" else arrays[:, ..., 0]
        numbers = [int(array.reshape(-1)[0]) for array in shown]
        rows = (
            (own.id, number, own.texts, tuple(dataset.label_names[i] for i in own.labels))
            for own, number in zip(examples, numbers, strict=True)
        )
        found[split] = sorted(rows)
    return found


def write_table(root, kind, rows, inline):
    """A manifest of `kind`; with `inline` the files lie in the table itself."""
    rows = [dict(row) for row in rows]
    for row in rows:
        if inline:
            row["bytes"] = (root / row["path"]).read_bytes()
            row["name"] = row.pop("path")
    path = root / f"m.{kind}"
    if kind == "parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=3)
        return path
    for row in rows if inline else ():
        row["bytes"] = base64.b64encode(row["bytes"]).decode()
    if kind == "jsonl":
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    else:
        out = io.StringIO()
        flat = [{k: "|".join(v) if isinstance(v, list) else v for k, v in r.items()} for r in rows]
        writer = csv.DictWriter(out, list(flat[0]), delimiter="\t" if kind == "tsv" else ",")
        writer.writeheader()
        writer.writerows(flat)
        text = out.getvalue()
    path.write_bytes(b"\xef\xbb\xbf" + text.encode())
    return path


def write_tar(path, members, end=True):
    with tarfile.open(path, "w") as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    if not end:
        path.write_bytes(path.read_bytes().rstrip(b"\0") + bytes(300))
