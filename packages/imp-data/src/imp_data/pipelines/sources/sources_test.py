"""Each kind of source, from real small files to the examples that a build stores."""

import base64
import csv
import io
import json
import os
import tarfile

import numpy as np
import pytest
import soundfile
from PIL import Image

from imp_data.pipelines import sources
from imp_data.pipelines.build import build_dataset
from imp_data.pipelines.sources.payload import row_group_column
from imp_data.stores.rows import Rows
from imp_data.views import AudioView, ImageView, VideoView

LEVELS = {"a": 20, "b": 90, "c": 160, "d": 230}
IMAGE = ImageView(size=4)


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
        arrays = Rows(dataset, split, view).read(np.arange(count))
        shown = arrays.argmax(-1).max(-1) if view.modality == "audio" else arrays[:, ..., 0]
        numbers = [int(array.reshape(-1)[0]) for array in shown]
        found[split] = sorted(
            (own.id, number, own.texts, tuple(dataset.label_names[i] for i in own.labels))
            for own, number in zip(dataset.examples(split), numbers, strict=True)
        )
    return found


ROWS = [
    {"path": "x/a.png", "captions": ["one", "two"], "labels": ["r", "s"], "split": "train"},
    {"path": "x/b.png", "captions": ['red, "big"'], "labels": ["s"], "split": "train"},
    {"path": "x/c.png", "captions": [], "labels": [], "split": "train"},
    {"path": "x/d.png", "captions": ["Äpfel\nund Birnen"], "labels": ["r"], "split": "test"},
]
EXPECTED = {
    "train": [
        ("x/a.png", 20, ("one", "two"), ("r", "s")),
        ("x/b.png", 90, ('red, "big"',), ("s",)),
        ("x/c.png", 160, (), ()),
    ],
    "test": [("x/d.png", 230, ("Äpfel und Birnen",), ("r",))],
}


@pytest.fixture
def root(tmp_path):
    (tmp_path / "x").mkdir()
    for name, level in LEVELS.items():
        (tmp_path / f"x/{name}.png").write_bytes(png(level))
    return tmp_path


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


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "parquet"])
@pytest.mark.parametrize("inline", [False, True], ids=["paths", "bytes"])
def test_tables(root, kind, inline):
    path = write_table(root, kind, ROWS, inline)
    columns = {"id": "name"} if inline else None
    assert built(f"{kind}:{path}", root / "out", columns=columns) == EXPECTED


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
    found = built(f"parquet:{root}/m.parquet", root / "out", shard_examples=30)["train"]
    assert row_group_column.cache_info().misses - before <= 2 * 6
    assert [(number, texts) for _, number, texts, _ in found] == sorted(
        ((number, (str(number),)) for number in range(60)), key=lambda row: f"m.parquet:{row[0]}"
    )


def test_a_rewritten_table_is_read_anew(root):
    for number in (1, 2):
        rows = [{**row, "caption": str(number)} for row in ROWS[:1]]
        (root / "x/a.png").write_bytes(png(number))
        path = write_table(root, "parquet", rows, inline=True)
        ((_, level, *_),) = built(f"parquet:{path}", root / f"{number}")["train"]
        assert level == number


def write_tar(path, members, end=True):
    with tarfile.open(path, "w") as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    if not end:
        path.write_bytes(path.read_bytes().rstrip(b"\0") + bytes(300))


def test_webdataset_tars(root):
    members = [
        ("s/0.png", png(20)),
        ("s/0.txt", b"\xef\xbb\xbfone"),
        ("s/0.cls", b"3\n"),
        ("s/1.json", json.dumps({"captions": ["two", "too"], "labels": ["x", "y"]}).encode()),
        ("s/1.PNG", png(90)),
        ("s/1.seg.png", png(0)),
        ("s/.hidden", b""),
    ]
    write_tar(root / "train-000.tar", members)
    write_tar(root / "train-001.tar", [("s/0.png", png(160))])
    write_tar(root / "test-000.tar", [("s/0.png", png(230)), ("s/0.txt", b"four")])
    expected = {
        "train": [
            ("train-000/s/0", 20, ("one",), ("3",)),
            ("train-000/s/1", 90, ("two", "too"), ("x", "y")),
            ("train-001/s/0", 160, (), ()),
        ],
        "test": [("test-000/s/0", 230, ("four",), ())],
    }
    spec = f"webdataset:{root}/{{train-{{000..001}},test-000}}.tar"
    assert built(spec, root / "out") == expected


def test_coco_captions(root):
    content = {
        "images": [{"id": 7, "file_name": "a.png"}, {"id": 3, "file_name": "b.png"}],
        "annotations": [
            {"image_id": 3, "id": 1, "caption": "a bee"},
            {"image_id": 7, "id": 2, "caption": "an ape"},
            {"image_id": 3, "id": 3, "caption": "the bee"},
        ],
    }
    (root / "captions_val2017.json").write_text(json.dumps(content))
    found = built(f"coco:{root}/captions_val2017.json", root / "out", root=str(root / "x"))
    assert found == {
        "val": [("a.png", 20, ("an ape",), ()), ("b.png", 90, ("a bee", "the bee"), ())]
    }


def test_kinetics(tmp_path, clip):
    videos = tmp_path / "videos/juggling"
    videos.mkdir(parents=True)
    (videos / "-abc.mp4").write_bytes(clip([40] * 8 + [200] * 8, fps=8))
    (videos / "xyz_000010_000020.mp4").write_bytes(clip([120] * 8, fps=8))
    (tmp_path / "k.csv").write_text(
        "label,youtube_id,time_start,time_end,split\n"
        "juggling balls,-abc,0,1,train\njuggling balls,-abc,1,2,train\nyoga,xyz,10,20,validate\n"
    )
    view = VideoView(frames=2, size=4, fps=1.0)
    found = built(f"kinetics:{tmp_path}/k.csv", tmp_path / "out", view, root=str(tmp_path))
    assert {s: [(i, round(n, -1), labels) for i, n, _, labels in r] for s, r in found.items()} == {
        "train": [("-abc_0_1", 40, ("juggling balls",)), ("-abc_1_2", 200, ("juggling balls",))],
        "validate": [("xyz_10_20", 120, ("yoga",))],
    }


def test_audioset(tmp_path, tone):
    low, high = (np.sin(np.arange(16_000) * f * 2 * np.pi / 16_000) / 2 for f in (300, 3000))
    soundfile.write(tmp_path / "--x.flac", np.concatenate([low, high]), 16_000)
    (tmp_path / "y_1_2.wav").write_bytes(tone(3000))
    (tmp_path / "class_labels_indices.csv").write_text(
        'index,mid,display_name\n0,/m/1,Speech\n1,/m/2,"Cheep, tweet"\n'
    )
    (tmp_path / "segments.csv").write_text(
        "# Segments csv created Sun Mar  5 10:54:31 2017\n"
        "# YTID, start_seconds, end_seconds, positive_labels\n"
        '--x, 0.000, 1.000, "/m/1,/m/2"\n--x, 1.000, 2.000, "/m/2"\ny, 1.000, 2.000, "/m/9"\n'
    )
    found = built(f"audioset:{tmp_path}/segments.csv", tmp_path / "out", AudioView(frames=8))
    (a, b, c) = found["train"]
    assert [row[0] for row in (a, b, c)] == ["--x_0_1", "--x_1_2", "y_1_2"]
    assert [row[3] for row in (a, b, c)] == [
        ("Cheep, tweet", "Speech"),
        ("Cheep, tweet",),
        ("/m/9",),
    ]
    assert a[1] < b[1] == c[1]


def test_a_table_of_clips(tmp_path, clip):
    (tmp_path / "v.mp4").write_bytes(clip([40] * 8 + [200] * 8, fps=8))
    (tmp_path / "m.csv").write_text("path,start,end\nv.mp4,0,0.5\nv.mp4,1,\n")
    view = VideoView(frames=3, size=4, fps=2.0)
    (a, b) = built(f"csv:{tmp_path}/m.csv", tmp_path / "out", view)["train"]
    assert (a[0], b[0]) == ("v.mp4#0-0.5", "v.mp4#1-")
    assert abs(a[1] - 40) < 4
    assert abs(b[1] - 200) < 4


@pytest.mark.parametrize("scheme", ["memory://{}", "file://{}", "{}"])
def test_any_filesystem(root, scheme):
    """A folder, a manifest and a glob of tars, wherever they lie."""
    import fsspec

    place = scheme.format(f"{root}/place")
    filesystem, path = fsspec.core.url_to_fs(place)
    filesystem.makedirs(f"{path}/cat", exist_ok=True)
    write_tar(root / "t.tar", [("0.png", png(160))])
    for name, data in {
        "cat/a.png": png(20),
        "cat/.b.png": b"hidden",
        "m.csv": b"path,caption\ncat/a.png,one\n",
        "t-0.tar": (root / "t.tar").read_bytes(),
    }.items():
        with filesystem.open(f"{path}/{name}", "wb") as file:
            file.write(data)
    assert built(f"folder:{place}", root / "1")["train"] == [("cat/a.png", 20, (), ("cat",))]
    assert built(f"csv:{place}/m.csv", root / "2")["train"] == [("cat/a.png", 20, ("one",), ())]
    assert built(f"webdataset:{place}/t-*.tar", root / "3")["train"] == [("t-0/0", 160, (), ())]
    assert built(f"glob:{place}/**/a.png", root / "4")["train"] == [("a.png", 20, (), ())]
    with filesystem.open(f"{path}/m.csv", "wb") as file:
        file.write(b"path\n../t.png\n")
    with pytest.raises(ValueError, match=r"path '\.\./t.png' leaves"):
        built(f"csv:{place}/m.csv", root / "5")


def test_names_that_look_like_patterns(root):
    (root / "x [v{2}]").mkdir()
    for name in ("m*.csv", "ma.csv"):
        (root / "x [v{2}]" / name).write_text("path\na.png\n")
    assert [item.path for item in read(f"csv:{root}/x [v{{2}}]/m*.csv")] == [
        f"{root}/x [v{{2}}]/a.png"
    ]


def test_a_class_whose_name_is_not_utf8_is_a_reject(root):
    os.makedirs(os.path.join(os.fsencode(root), b"y/caf\xe9"))
    with open(os.path.join(os.fsencode(root), b"y/caf\xe9/a.png"), "wb") as file:
        file.write(png(1))
    (root / "y/a").mkdir()
    (root / "y/a/a.png").write_bytes(png(1))
    found = built(f"folder:{root}/y", root / "out", max_reject_share=0.5)
    assert found == {"train": [("a/a.png", 1, (), ("a",))]}


def test_a_bad_row_makes_no_split_of_its_own(root):
    (root / "m.csv").write_text("path,split\nx/a.png,test\n,test\n../b.png,\n")
    found = built(f"csv:{root}/m.csv", root / "out", max_reject_share=0.9)
    assert found == {"test": [("x/a.png", 20, (), ())]}


def test_a_changed_remote_file_is_seen(root):
    import fsspec

    memory = fsspec.filesystem("memory")
    memory.pipe("/changing/a.png", png(20))
    built("folder:memory://changing", root / "out")
    built("folder:memory://changing", root / "out")
    memory.pipe("/changing/a.png", png(30))
    with pytest.raises(ValueError, match="or a file changed"):
        built("folder:memory://changing", root / "out")


def test_folders_with_and_without_splits(tmp_path):
    for name in ("train/cat/x-y.png", "test/cat/z.PNG", "test/.hidden/q.png", "train/cat/n.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    items = read(f"folder:{tmp_path}", caption_from="stem")
    assert [(i.id, i.labels, i.split, i.texts) for i in items] == [
        ("test/cat/z.PNG", ("cat",), "test", ("z",)),
        ("train/cat/x-y.png", ("cat",), "train", ("x y",)),
    ]
    (flat,) = read(f"folder:{tmp_path}/train/cat", split="test")
    assert (flat.labels, flat.split) == ((), "test")


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


def test_a_link_out_of_the_root_is_refused(root, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside") / "secret.png"
    outside.write_bytes(b"x")
    (root / "x/link.png").symlink_to(outside)
    (root / "m.csv").write_text("path\nx/link.png\n")
    assert "leaves" in read(f"csv:{root}/m.csv")[0].problem


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


def test_what_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="no folder at"):
        read(f"folder:{tmp_path}/none")
    for pattern in ("none.csv", "*.csv", "{0..2}.csv"):
        with pytest.raises(FileNotFoundError, match="no file at"):
            read(f"csv:{tmp_path}/{pattern}")
    with pytest.raises(ValueError, match=r"can't be opened: .*nosuch"):
        read("csv:nosuch://m.csv")
    with pytest.raises(ValueError, match=r"write one of folder:…, glob:…"):
        read("tar:x")


@pytest.mark.parametrize("damage", ["cut", "header", "end"])
def test_a_broken_tar_gives_what_lies_before_the_break(tmp_path, damage):
    path = tmp_path / "t.tar"
    write_tar(path, [(f"{i}.png", png(20)) for i in range(3)], end=damage != "end")
    data = bytearray(path.read_bytes())
    if damage == "cut":
        data = data[: 2 * 1024 + 530]
    elif damage == "header":
        data[2 * 1024 + 150] ^= 1
    path.write_bytes(data)
    *sound, broken = read(f"webdataset:{path}")
    # Behind the break may lie a caption of the last one before it.
    assert [item.id for item in sound] == (["t/0", "t/1"] if damage == "end" else ["t/0"])
    assert "the tar is broken after" in broken.problem


def test_a_compressed_tar_is_refused(tmp_path):
    with tarfile.open(tmp_path / "t.tar", "w:gz"):
        pass
    assert "gunzip it" in read(f"webdataset:{tmp_path}/t.tar")[0].problem


def test_a_broken_parquet_file_is_one_reject(root):
    path = write_table(root, "parquet", ROWS, inline=False)
    data = path.read_bytes()
    path.with_name("n.parquet").write_bytes(data[:-100])
    *sound, broken = read(f"parquet:{root}/*.parquet")
    assert len(sound) == 4
    assert "is no readable Parquet" in broken.problem


def test_clips_that_no_file_or_two_files_hold(tmp_path, clip):
    for name in ("p/a.mp4", "q/a.mp4"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(b"x")
    text = "youtube_id,time_start,time_end\na,0,1\nb,0,1\n,0,1\nc,5,1\n"
    (tmp_path / "k.csv").write_text(text)
    problems = [i.problem for i in read(f"kinetics:{tmp_path}/k.csv", modalities=["video"])]
    for problem, said in zip(
        problems,
        ["two files may hold it", "no file b_000000_000001 or b", "no youtube_id", "end"],
        strict=True,
    ):
        assert said in problem
