"""Tars of WebDataset, broken ones among them."""

import json
import tarfile

import pytest

from imp_data.sources.conftest import built, png, read, write_tar


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
