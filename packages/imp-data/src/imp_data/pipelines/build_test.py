import json

import numpy as np
import pytest
from PIL import Image

from imp_data import media, records, verify
from imp_data.datasets import Dataset
from imp_data.pipelines import build, shard
from imp_data.stores.rows import Rows
from imp_data.stores.tfrecord import TFRecordReader
from imp_data.views import AudioView, ImageView, VideoView

VIEWS = [ImageView(size=8), ImageView(size=4)]


@pytest.fixture
def source(tmp_path):
    """40 train and 6 test pictures of two labels, and three files that are no use."""
    root = tmp_path / "source"
    rng = np.random.default_rng(0)
    for split, count in (("train", 40), ("test", 6)):
        for i in range(count):
            folder = root / split / ("cat", "dog")[i % 2]
            folder.mkdir(parents=True, exist_ok=True)
            picture = Image.fromarray(rng.integers(0, 256, (16, 12, 3), np.uint8))
            picture.save(folder / f"a-{i}.png")
    sound = (root / "train/cat/a-0.png").read_bytes()
    (root / "train/cat/cut.png").write_bytes(sound[: len(sound) // 2])
    (root / "train/cat/empty.png").write_bytes(b"")
    (root / "train/dog/text.jpg").write_text("no picture")
    (root / "train/dog/notes.txt").write_text("passed over")
    return root


def run(source, out, **options):
    options = {"views": VIEWS, "max_reject_share": 0.1, "progress": False} | options
    return build.build_dataset(source=f"folder:{source}", out=out, **options)


def files(root):
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and path.name != "plan.json"
    }


def test_every_example_is_stored_as_media_loads_it(source, tmp_path):
    dataset = run(
        source, tmp_path / "out", formats=("tensorstore", "tfrecord"), caption_from="stem"
    )
    assert dataset == Dataset.load(tmp_path / "out")
    assert dataset.num_examples == {"train": 40, "test": 6}
    assert dataset.label_names == ("cat", "dog")
    assert dataset.modalities == ("image", "text")
    for split, count in dataset.num_examples.items():
        examples = list(dataset.examples(split))
        assert len({example.id for example in examples}) == count
        for view in VIEWS:
            arrays = Rows(dataset, split, view).read(np.arange(count))
            for array, example in zip(arrays, examples, strict=True):
                assert (array == media.load((source / example.id).read_bytes(), view)).all()
                assert [dataset.label_names[i] in example.id for i in example.labels] == [True]
                assert example.texts[0].startswith("a ")
        readers = sorted((tmp_path / "out/tfrecord").glob(f"{split}-*.tfrecord"))
        found = [records.from_bytes(data) for path in readers for data in TFRecordReader(path)]
        assert [record.id for record in found] == [example.id for example in examples]
        assert (found[3].arrays["image-4"] == arrays[3]).all()


def test_rejects_are_named_and_counted(source, tmp_path):
    dataset = run(source, tmp_path / "out")
    lines = (tmp_path / "out/rejects.jsonl").read_text().splitlines()
    assert sorted(json.loads(line)["id"] for line in lines) == [
        "train/cat/cut.png",
        "train/cat/empty.png",
        "train/dog/text.jpg",
    ]
    assert sum(dataset.manifest.rejects.values()) == 3
    assert dataset.manifest.rejects["the file is empty"] == 1


def test_too_many_rejects_leave_no_dataset_and_a_rerun_can_allow_them(source, tmp_path):
    with pytest.raises(ValueError, match=r"3 of 49 inputs were rejected .*--max-reject-share"):
        run(source, tmp_path / "out", max_reject_share=0.01)
    with pytest.raises(FileNotFoundError):
        Dataset.load(tmp_path / "out")
    assert run(source, tmp_path / "out", max_reject_share=0.1).num_examples["train"] == 40


def test_a_rerun_returns_at_once_and_a_changed_source_is_refused(source, tmp_path, monkeypatch):
    run(source, tmp_path / "out")
    before = files(tmp_path / "out")

    def no_pipeline(*_):
        raise AssertionError("nothing was to be built")

    with monkeypatch.context() as patch:
        patch.setattr(build.runner, "for_each", no_pipeline)
        run(source, tmp_path / "out")
    assert files(tmp_path / "out") == before
    (source / "train/cat/a-0.png").unlink()
    for options in ({}, {"seed": 1}, {"views": VIEWS[:1]}):
        with pytest.raises(ValueError, match="--overwrite"):
            run(source, tmp_path / "out", **options)
    assert run(source, tmp_path / "out", overwrite=True).num_examples["train"] == 39
    assert verify.verify(tmp_path / "out") == []


def test_a_killed_build_goes_on_and_ends_with_the_same_bytes(source, tmp_path, monkeypatch):
    run(source, tmp_path / "whole", name="same", shard_examples=10)
    written = []
    real = shard.process_shard

    def killed(job):
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(job.shard.name)
        return real(job)

    with monkeypatch.context() as patch:
        patch.setattr(build.runner, "for_each", lambda _, jobs, __: [killed(job) for job in jobs])
        with pytest.raises(KeyboardInterrupt):
            run(source, tmp_path / "out", name="same", shard_examples=10)
    assert not (tmp_path / "out/manifest.json").exists()
    (tmp_path / "out/examples/train/.00003.jsonl.77.tmp").write_bytes(b"half")
    redone = []

    def counted(work, jobs, options):
        redone.extend(jobs)
        for_each(work, jobs, options)

    for_each = build.runner.for_each
    monkeypatch.setattr(build.runner, "for_each", counted)
    run(source, tmp_path / "out", name="same", shard_examples=10)
    assert len(redone) == 6 - 2
    assert files(tmp_path / "out") == files(tmp_path / "whole")


def test_threads_and_shards_change_no_example(source, tmp_path):
    one = run(source, tmp_path / "one", num_threads=1)
    two = run(source, tmp_path / "two", num_threads=3, shard_examples=7)
    assert list(one.examples("train")) == list(two.examples("train"))
    rows = [Rows(d, "train", VIEWS[0]).read(np.arange(40)) for d in (one, two)]
    assert (rows[0] == rows[1]).all()


def test_verify_names_what_is_wrong(source, tmp_path):
    run(source, tmp_path / "out")
    out = tmp_path / "out"
    assert verify.verify(out) == []
    shards = sorted((out / "tensorstore/train/image-8/c").rglob("0"))
    data = [path for path in shards if path.is_file()]
    flipped = bytearray(data[0].read_bytes())
    flipped[9] ^= 1
    data[0].write_bytes(flipped)
    data[1].unlink()
    (out / "examples/train/99999.jsonl").write_text("")
    problems = verify.verify(out)
    assert [problem.split(":")[0] for problem in problems] == ["changed", "missing", "extra"]
    assert data[0].relative_to(out).as_posix() in problems[0]


def test_a_video_gives_its_frames_and_its_sound(tmp_path, clip):
    root = tmp_path / "source"
    root.mkdir()
    for i in range(4):
        (root / f"{i}.mp4").write_bytes(clip([40 * i + 20] * 8, tone=300 + 100 * i))
    (root / "silent.mp4").write_bytes(clip([100] * 8))
    views = [VideoView(frames=4, size=16, fps=4.0), AudioView(frames=8)]
    dataset = run(root, tmp_path / "out", views=views, max_reject_share=0.2)
    assert dataset.modalities == ("video", "audio")
    assert dict(dataset.manifest.rejects) == {"has no audio track": 1}
    peaks = Rows(dataset, "train", views[1]).read(np.arange(4))[:, 3].argmax(-1)
    order = [int(example.id[0]) for example in dataset.examples("train")]
    assert np.argsort(peaks).tolist() == np.argsort(order).tolist()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"source": "tar:x"}, "source 'tar:x' is unknown; write one of folder:"),
        ({"formats": ("parquet",)}, "choose among tensorstore, tfrecord"),
        ({"max_reject_share": 2.0}, "max_reject_share 2.0 must be"),
        ({"views": []}, "--views image-64"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_written(source, tmp_path, options, message):
    arguments = {"source": f"folder:{source}", "views": VIEWS} | options
    with pytest.raises(ValueError, match=message):
        build.build_dataset(out=tmp_path / "out", **arguments)
    assert not (tmp_path / "out").exists()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/file").write_text("keep")
    with pytest.raises(ValueError, match="not empty"):
        run(source, tmp_path / "mine", overwrite=True)
    assert (tmp_path / "mine/file").read_text() == "keep"
