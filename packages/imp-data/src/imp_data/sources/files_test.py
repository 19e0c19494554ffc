"""Where files lie: folders, patterns, any filesystem, and names of all kinds."""

import os

import pytest

from imp_data.sources.conftest import built, png, read, write_tar


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


def test_a_changed_remote_file_is_seen(root):
    import fsspec

    memory = fsspec.filesystem("memory")
    memory.pipe("/changing/a.png", png(20))
    built("folder:memory://changing", root / "out")
    built("folder:memory://changing", root / "out")
    memory.pipe("/changing/a.png", png(30))
    with pytest.raises(ValueError, match="changed since"):
        built("folder:memory://changing", root / "out")


def test_a_link_out_of_the_root_is_refused(root, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside") / "secret.png"
    outside.write_bytes(b"x")
    (root / "x/link.png").symlink_to(outside)
    (root / "m.csv").write_text("path\nx/link.png\n")
    assert "leaves" in read(f"csv:{root}/m.csv")[0].problem


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
