"""A finished build that goes on: new inputs, mended ones, and what may not change meanwhile."""

import shutil
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from imp_data import media, verify
from imp_data.datasets import Dataset
from imp_data.media.limits import Limits
from imp_data.pipelines import build
from imp_data.stores.rows import Rows
from imp_data.views import ImageView

VIEW = ImageView(size=8)


def picture(path, seed, size=(12, 16)):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)
    Image.fromarray(pixels).save(path)


def run(root, **options):
    options = {
        "source": f"folder:{root}/source",
        "out": root / "out",
        "views": [VIEW],
        "formats": ("tensorstore", "tfrecord"),
        "max_reject_share": 0.2,
        "shard_examples": 8,
        "num_threads": 1,
        "progress": False,
    } | options
    return build.build_dataset(**options)


def files(out):
    return {
        path.relative_to(out).as_posix(): path.read_bytes()
        for path in out.rglob("*")
        if path.is_file()
    }


def ids(dataset, split):
    return [example.id for example in dataset.examples(split)]


def check(root, dataset):
    """Every example is what its file says, and the folder is sound."""
    assert verify.verify(dataset.path) == []
    for split, count in dataset.num_examples.items():
        arrays = Rows(dataset, split, VIEW).read(np.arange(count))
        for array, example in zip(arrays, dataset.examples(split), strict=True):
            path = root / "source" / example.id
            assert (array == media.load(path.read_bytes(), VIEW)).all()
            names = [dataset.label_names[label] for label in example.labels]
            assert [split, *names] == example.id.split("/")[:2]


@pytest.fixture
def root(tmp_path):
    """20 train and 5 test pictures of dogs and cats, a cut and a large one."""
    for i in range(20):
        picture(tmp_path / f"source/train/{('cat', 'dog')[i % 2]}/{i}.png", i)
    for i in range(5):
        picture(tmp_path / f"source/test/{('cat', 'dog')[i % 2]}/{i}.png", 100 + i)
    whole = (tmp_path / "source/train/cat/0.png").read_bytes()
    (tmp_path / "source/train/cat/cut.png").write_bytes(whole[: len(whole) // 2])
    return tmp_path


def grow(root):
    """Of a label that sorts before the others, of an old one, and of a new split."""
    for i in range(9):
        picture(root / f"source/train/ape/{i}.png", 200 + i)
    picture(root / "source/test/cat/new.png", 300)
    picture(root / "source/validation/dog/0.png", 301)


def test_extending_keeps_what_is_there_and_adds_what_is_new(root):
    before = ids(run(root), "train")
    old = files(root / "out")
    grow(root)
    with pytest.raises(ValueError, match=r"has new inputs, '.*' and 10 more; add them with --ext"):
        run(root)
    assert files(root / "out") == old
    dataset = run(root, extend=True)
    new = files(root / "out")
    changed = {name for name in old if new[name] != old[name]}
    assert changed == {
        "manifest.json",
        "plan.json",
        "tensorstore/train/image-8/zarr.json",
        "tensorstore/test/image-8/zarr.json",
    }
    assert dataset.num_examples == {"train": 29, "validation": 1, "test": 6}
    assert dataset.label_names == ("cat", "dog", "ape")
    assert ids(dataset, "train")[:20] == before
    check(root, dataset)
    # Nothing is new now, so it needs no word of extending.
    assert run(root) == run(root, extend=True) == dataset
    assert files(root / "out") == new


def test_extending_nothing_builds_it(root):
    assert run(root, extend=True) == run(root)
    fresh = run(root, out=root / "fresh", name="out")
    assert files(fresh.path) == files(root / "out")


def test_what_an_extension_finds_changed_is_refused(root):
    run(root)
    old = files(root / "out")
    grow(root)
    options = [
        ({"views": [ImageView(size=4)]}, "built with views"),
        ({"seed": 3}, "built with seed 0, not 3"),
        ({"name": "other"}, "built with name out, not other"),
        ({"formats": ("tfrecord",)}, "built with formats"),
        ({"dedup": True}, "built with near duplicates None"),
        ({"limits": Limits(max_pixels=1000)}, "built with max_pixels 50000000, not 1000"),
        ({"overwrite": True}, "--overwrite replaces what --extend"),
    ]
    for option, message in options:
        with pytest.raises(ValueError, match=message):
            run(root, extend=True, **option)
    picture(root / "source/train/cat/2.png", 999)
    with pytest.raises(ValueError, match=r"'train/cat/2\.png' changed since"):
        run(root, extend=True)
    (root / "source/train/cat/2.png").unlink()
    with pytest.raises(ValueError, match=r"has lost 'train/cat/2\.png'"):
        run(root, extend=True)
    assert files(root / "out") == old
    assert run(root, overwrite=True).num_examples["train"] == 28


def test_mended_rejects_come_in_and_only_their_shards_are_redone(root):
    before = run(root)
    assert before.manifest.rejects
    times = {name: (root / "out" / name).stat().st_mtime_ns for name in files(root / "out")}
    picture(root / "source/train/cat/cut.png", 7)
    with pytest.raises(ValueError, match=r"'train/cat/cut\.png' changed since"):
        run(root)
    dataset = run(root, retry_rejects=True)
    assert not dataset.manifest.rejects
    assert dataset.num_examples["train"] == 21
    check(root, dataset)
    redone = {name for name, old in times.items() if (root / "out" / name).stat().st_mtime_ns > old}
    assert len([name for name in redone if name.startswith("receipts/")]) == 1
    fresh = run(root, out=root / "fresh", name="out")
    assert files(fresh.path) == files(root / "out")


def test_only_rejects_may_have_changed(root):
    run(root)
    picture(root / "source/train/cat/cut.png", 7)
    picture(root / "source/train/dog/3.png", 8)
    with pytest.raises(ValueError, match=r"'train/dog/3\.png' changed since"):
        run(root, retry_rejects=True)


def test_a_retry_with_higher_limits(root):
    picture(root / "source/train/dog/large.png", 5, size=(40, 40))
    small = Limits(max_pixels=1000)
    assert sum(run(root, limits=small).manifest.rejects.values()) == 2
    with pytest.raises(ValueError, match="max_pixels 1000, not 999"):
        run(root, retry_rejects=True, limits=Limits(max_pixels=999))
    dataset = run(root, retry_rejects=True)
    assert list(dataset.manifest.rejects.values()) == [1]
    fresh = run(root, out=root / "fresh", name="out")
    assert files(fresh.path) == files(root / "out")


def test_a_retry_that_mends_nothing_changes_nothing(root):
    run(root)
    old = files(root / "out")
    run(root, retry_rejects=True)
    assert files(root / "out") == old


def test_a_mended_row_of_another_split_leaves_its_shard(root):
    rows = [
        f"train/{('cat', 'dog')[i % 2]}/{i}.png,{('train', 'test')[i % 4 == 3]}" for i in range(12)
    ]
    table = root / "source/rows.csv"
    options = {"source": f"csv:{table}", "max_reject_share": 0.2}
    table.write_text("\n".join(["path,split", *rows, "train/cat/gone.png,test"]) + "\n")
    assert run(root, **options).num_examples == {"train": 9, "test": 3}
    picture(root / "source/train/cat/gone.png", 11)
    dataset = run(root, retry_rejects=True, **options)
    assert dataset.num_examples == {"train": 9, "test": 4}
    assert any("gone" in identity for identity in ids(dataset, "test"))
    assert verify.verify(root / "out") == []


def test_new_test_pictures_take_their_like_out_of_training(root):
    first = run(root, dedup=True)
    assert first.num_examples == {"train": 20, "test": 5}
    picture(root / "source/train/dog/again.png", 4)  # as train/cat/4.png
    picture(root / "source/test/dog/seen.png", 6)  # as train/cat/6.png
    dataset = run(root, dedup=True, extend=True)
    assert dataset.num_examples == {"train": 19, "test": 6}
    kept = ids(dataset, "train")
    assert "train/cat/4.png" in kept
    assert not {"train/cat/6.png", "train/dog/again.png"} & set(kept)
    check(root, dataset)
    old = files(root / "out")
    assert run(root, dedup=True) == dataset
    assert files(root / "out") == old


_EXTEND = """
import sys
from imp_data.pipelines.build import build_dataset
from imp_data.views import ImageView
build_dataset(
    source=sys.argv[1], out=sys.argv[2], views=[ImageView(size=8)],
    formats=("tensorstore", "tfrecord"), max_reject_share=0.2, shard_examples=8, num_threads=1,
    extend=True, retry_rejects=True, progress=False,
)
"""


def test_a_killed_extension_goes_on_and_ends_with_the_same_bytes(root, tmp_path_factory):
    """SIGKILL as soon as something was written; what can be opened is a whole dataset."""
    run(root)
    grow(root)
    picture(root / "source/train/cat/cut.png", 7)
    out, whole = root / "out", tmp_path_factory.mktemp("whole") / "out"
    shutil.copytree(out, whole)
    expected = run(root, out=whole, extend=True, retry_rejects=True)
    assert expected.num_examples == {"train": 30, "validation": 1, "test": 6}
    for written in ("plan.json", "receipts"):
        command = [sys.executable, "-c", _EXTEND, f"folder:{root}/source", out]
        child = subprocess.Popen(command)
        before = (out / written).stat().st_mtime_ns
        while (out / written).stat().st_mtime_ns == before:
            assert child.poll() is None
            time.sleep(0.0005)
        child.kill()
        child.wait()
        # The mended shard's receipt went first, so the old dataset is one no more.
        assert not (out / "manifest.json").is_file()
    assert run(root) == Dataset.load(out)
    assert files(out) == files(whole)
