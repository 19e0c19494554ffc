"""Parquet, Hugging Face's among it."""

import json

from imp_data.sources.conftest import LEVELS, ROWS, built, png, read, write_table
from imp_data.sources.payload import row_group_column


def test_hugging_face_parquet(root):
    """Two files a split by their names, a struct of bytes and path, classes by number."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    feature = {"label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}
    meta = {"huggingface": json.dumps({"info": {"features": feature}})}
    for number, (split, names) in enumerate([("train", "ab"), ("train", "c"), ("test", "d")]):
        table = pa.table(
            {
                "image": pa.array(
                    [{"bytes": png(LEVELS[name]), "path": f"{name}.png"} for name in names], kind
                ),
                "label": pa.array([("abcd".index(name)) % 2 for name in names], pa.int64()),
                "text": [f"the {name}" for name in names],
            }
        ).replace_schema_metadata(meta)
        pq.write_table(table, root / f"{split}-{number:05d}-of-00003.parquet", row_group_size=1)
    assert built(f"parquet:{root}/*.parquet", root / "out") == {
        "train": [
            ("train-00000-of-00003.parquet:0", 20, ("the a",), ("cat",)),
            ("train-00000-of-00003.parquet:1", 90, ("the b",), ("dog",)),
            ("train-00001-of-00003.parquet:0", 160, ("the c",), ("cat",)),
        ],
        "test": [("test-00002-of-00003.parquet:0", 230, ("the d",), ("dog",))],
    }


def test_hugging_face_parquet_whose_files_lie_beside_it(root):
    import pyarrow as pa
    import pyarrow.parquet as pq

    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    rows = pa.array([{"bytes": None, "path": f"x/{name}.png"} for name in "ab"], kind)
    table = pa.table({"image": rows, "label": pa.array([-1, 5], pa.int64())})
    pq.write_table(table, root / "m.parquet")
    assert built(f"parquet:{root}/m.parquet", root / "out")["train"] == [
        ("x/a.png", 20, (), ("-1",)),
        ("x/b.png", 90, (), ("5",)),
    ]


def test_a_row_group_is_read_once_a_shard(root):
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [{"bytes": png(number), "caption": str(number)} for number in range(60)]
    pq.write_table(pa.Table.from_pylist(rows), root / "m.parquet", row_group_size=10)
    before = row_group_column.cache_info().misses
    found = built(f"parquet:{root}/m.parquet", root / "out", shard_examples=30, num_threads=1)
    assert row_group_column.cache_info().misses - before == 2 * 6
    assert [(number, texts) for _, number, texts, _ in found["train"]] == sorted(
        ((number, (str(number),)) for number in range(60)), key=lambda row: f"m.parquet:{row[0]}"
    )


def test_a_rewritten_table_is_read_anew(root):
    for number in (1, 2):
        rows = [{**row, "caption": str(number)} for row in ROWS[:1]]
        (root / "x/a.png").write_bytes(png(number))
        path = write_table(root, "parquet", rows, inline=True)
        ((_, level, *_),) = built(f"parquet:{path}", root / f"{number}")["train"]
        assert level == number


def test_a_broken_parquet_file_is_one_reject(root):
    path = write_table(root, "parquet", ROWS, inline=False)
    data = path.read_bytes()
    path.with_name("n.parquet").write_bytes(data[:-100])
    *sound, broken = read(f"parquet:{root}/*.parquet")
    assert len(sound) == 4
    assert "is no readable Parquet" in broken.problem
