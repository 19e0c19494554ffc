"""Manifests of rows: CSV, TSV, JSON lines, and what all kinds of them have in common."""

import pytest

from imp_data import sources
from imp_data.sources.conftest import ROWS, built, read, write_table

EXPECTED = {
    "train": [
        ("x/a.png", 20, ("one", "two"), ("r", "s")),
        ("x/b.png", 90, ('red, "big"',), ("s",)),
        ("x/c.png", 160, (), ()),
    ],
    "test": [("x/d.png", 230, ("Äpfel und Birnen",), ("r",))],
}


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "parquet"])
@pytest.mark.parametrize("inline", [False, True], ids=["paths", "bytes"])
def test_tables(root, kind, inline):
    path = write_table(root, kind, ROWS, inline)
    columns = {"id": "name"} if inline else None
    assert built(f"{kind}:{path}", root / "out", columns=columns) == EXPECTED


def test_columns_by_other_names(root):
    (root / "m.tsv").write_text("img\ttitle\tkind\nx/a.png\tOne\t1\n")
    columns = {"path": "img", "caption": "title", "label": "kind"}
    (item,) = read(f"tsv:{root}/m.tsv", columns=columns)
    assert (item.texts, item.labels) == (("One",), ("1",))
    with pytest.raises(ValueError, match="no column 'head' for caption; there are img, title"):
        read(f"tsv:{root}/m.tsv", columns={"path": "img", "caption": "head"})
    with pytest.raises(ValueError, match=r"\['picture'\] are unknown; map some of path"):
        read(f"tsv:{root}/m.tsv", columns={"picture": "img"})


def test_numbers_are_labels_and_one_caption_is_a_list(root):
    (root / "m.jsonl").write_text('{"path": "x/a.png", "caption": ["p", "q"], "label": 3}\n\n')
    (item,) = read(f"jsonl:{root}/m.jsonl")
    assert (item.texts, item.labels) == (("p", "q"), ("3",))


def test_bytes_that_are_not_utf8_reach_their_item(root):
    (root / "m.csv").write_bytes(b"path,caption\nx/a.png,caf\xe9\nx/b.png,ok\n")
    a, b = read(f"csv:{root}/m.csv")
    assert a.texts == ("caf\udce9",)
    assert b.texts == ("ok",)


def test_a_bad_row_makes_no_split_of_its_own(root):
    (root / "m.csv").write_text("path,split\nx/a.png,test\n,test\n../b.png,\n")
    found = built(f"csv:{root}/m.csv", root / "out", max_reject_share=0.9)
    assert found == {"test": [("x/a.png", 20, (), ())]}


@pytest.mark.parametrize(
    ("kind", "text", "problem"),
    [
        ("csv", "path\nx/a.png,more\n", "has 2 fields, the header 1"),
        ("csv", "path,label\nx/a.png\n", "has 1 fields, the header 2"),
        ("csv", "path\nx/a.png\nx/a.png\n", "x/a.png is named twice"),
        ("csv", "path\na.wav\n", "must end in one of"),
        ("csv", "path,split\nx/a.png,../x\n", "split '../x' must be a word"),
        ("csv", "path\n../secret.png\n", "leaves"),
        ("csv", "path\n/etc/secret.png\n", "leaves"),
        ("csv", "path\nx/../../secret.png\n", "leaves"),
        ("csv", "path\ns3://bucket/secret.png\n", "leaves"),
        ("csv", "path\nx\n", "must end in one of"),
        ("csv", "path,start\nx/a.png,1\n", "a picture has no start or end"),
        ("csv", "path,label\nx/a.png,caf\udce9\n", "is not UTF-8"),
        ("jsonl", "{", "is not JSON"),
        ("jsonl", "[" * 100_000, "nested too deep"),
        ("jsonl", '{"label": ' + "9" * 5000 + "}", "is not JSON"),
        ("jsonl", "[1]", "is not a JSON object"),
        ("jsonl", '{"caption": "x"}', "has no path"),
        ("jsonl", '{"path": 3}', "has no path"),
        ("jsonl", '{"path": "a\\u0000.png"}', "characters that no file's name has"),
        ("jsonl", '{"path": "\\ud800.png"}', "characters that no file's name has"),
        ("jsonl", '{"path": "x/a.png", "captions": [1]}', "captions \\[1\\] must be text"),
        ("jsonl", '{"path": "x/a.png", "label": {}}', "label \\[{}\\] must be a name"),
        ("jsonl", '{"path": "x/a.png", "split": 3}', "split 3 must be a word"),
    ],
)
def test_a_bad_row_is_a_reject_that_says_why(root, kind, text, problem):
    (root / f"m.{kind}").write_bytes(text.encode(errors="surrogateescape"))
    items = read(f"{kind}:{root}/m.{kind}")
    assert len({item.id for item in items}) == len(items)
    with pytest.raises(ValueError, match=rf"(?s){problem}.*--max-reject-share"):
        sources.check(items, max_share=0.05)
    sources.check(items, max_share=1.0)


@pytest.mark.parametrize(
    ("start", "end", "problem"),
    [
        ("-1", "", "start '-1' must be seconds of at least 0"),
        ("nan", "", "start 'nan' must be seconds"),
        ("1e999", "", "start '1e999' must be seconds"),
        ("two", "", "start 'two' must be seconds"),
        ("3", "2", "end 2 s is not after start 3 s"),
        ("", "0", "end 0 s is not after start 0 s"),
    ],
)
def test_times_that_are_none(tmp_path, start, end, problem):
    (tmp_path / "m.csv").write_text(f"path,start,end\nv.mp4,{start},{end}\n")
    (item,) = read(f"csv:{tmp_path}/m.csv", modalities=["video"])
    assert problem in item.problem


@pytest.mark.parametrize(
    ("kind", "text", "message"),
    [
        ("csv", "name\nx.png\n", "has no column 'path'"),
        ("csv", "", "has no column 'path'"),
        ("csv", "path\n", "holds no image files"),
        ("csv", 'path,caption\nx/a.png,"5 inch\nx/b.png,x\n', "m.csv:2 is no CSV"),
        ("csv", "\udcff\udcfep", "is UTF-16; save it as UTF-8"),
        ("jsonl", "", "holds no image files"),
        ("coco", "[]", "is not COCO captions"),
        ("coco", '{"images": [{}], "annotations": []}', "is not COCO captions"),
        ("kinetics", "label,id\n", "has no column 'youtube_id'"),
        ("kinetics", 'label,"youtube_id', "is no CSV"),
        ("audioset", "# nothing\n", "holds no image files"),
    ],
)
def test_a_manifest_that_is_none_is_an_error(root, kind, text, message):
    (root / f"m.{kind}").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(ValueError, match=message):
        read(f"{kind}:{root}/m.{kind}")
