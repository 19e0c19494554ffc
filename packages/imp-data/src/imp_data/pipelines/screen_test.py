"""Builds that leave near duplicates out: what is dropped, and that it is a function of the plan."""

import json
import shutil

import numpy as np
import pytest

from imp_data import cli, verify
from imp_data.near_duplicates import decisions
from imp_data.near_duplicates.pictures_test import EDITS, scene
from imp_data.pipelines import build, fingerprint, near_pairs
from imp_data.views import AudioView, ImageView, VideoView

VIEWS = [ImageView(size=48)]


def save(root, names):
    for name, picture in names.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.save(path)
    return root


@pytest.fixture
def source(tmp_path):
    """Train: scenes 0 to 9, three copies of scene 0, one of scene 20, which test holds, and a
    broken file. Test: scenes 20, 21 and a copy of 21."""
    names = {f"train/a/{i}.png": scene(i) for i in range(10)}
    names |= {f"train/a/0-{edit}.png": EDITS[edit](scene(0)) for edit in ("jpeg", "crop", "grey")}
    names |= {"train/a/leak.png": EDITS["mirrored"](scene(20))}
    names |= {f"test/a/{i}.png": scene(i) for i in (20, 21)}
    names |= {"test/a/21-copy.png": EDITS["light"](scene(21))}
    root = save(tmp_path / "source", names)
    (root / "train/a/broken.png").write_bytes(b"no picture")
    return root


@pytest.fixture
def evaluation(tmp_path):
    return save(tmp_path / "evaluation", {f"{i}.png": EDITS["several"](scene(i)) for i in (3, 30)})


def run(source, out, **options):
    options = {"views": VIEWS, "max_reject_share": 0.2, "progress": False} | options
    return build.build_dataset(source=f"folder:{source}", out=out, name="same", **options)


def drops(out):
    report = json.loads((out / "near_duplicates/report.json").read_text())
    return {drop["id"]: drop for drop in report["drops"]}


def files(root):
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file()
    }


def test_dedup_keeps_one_of_each_and_never_touches_held_out_splits(source, tmp_path):
    dataset = run(source, tmp_path / "out", dedup=True)
    gone = set(drops(tmp_path / "out"))
    group = {"train/a/0.png"} | {f"train/a/0-{edit}.png" for edit in ("jpeg", "crop", "grey")}
    assert len(group & gone) == 3
    assert gone - group == {"train/a/leak.png"}
    assert drops(tmp_path / "out")["train/a/leak.png"]["like"] == "test/a/20.png"
    assert dataset.num_examples == {"train": 10, "test": 3}
    assert not gone & {example.id for example in dataset.examples("train")}
    manifest = dataset.manifest.near_duplicates
    assert dict(manifest.dropped) == {"is by its image like an example that is kept": 4}
    assert (manifest.within, list(manifest.compared_by)) == (True, ["image"])
    assert sum(dataset.manifest.rejects.values()) == 1
    assert verify.verify(tmp_path / "out") == []
    page = (tmp_path / "out/near_duplicates/report.html").read_text()
    assert "4 of 18 examples dropped" in page
    assert page.count("data:image/png;base64,") == 8
    assert "1 such example lies in held-out splits" in page


@pytest.mark.parametrize("built", [False, True])
def test_training_examples_like_those_of_an_evaluation_set_go(source, evaluation, tmp_path, built):
    against = f"folder:{evaluation}"
    if built:
        # Its centre squares are all that it stores of the pictures.
        against = str(run(evaluation, tmp_path / "built").path)
    dataset = run(source, tmp_path / "out", against=[against])
    (drop,) = drops(tmp_path / "out").values()
    assert (drop["id"], drop["like"], drop["where"]) == ("train/a/3.png", "3.png", against)
    assert dataset.num_examples == {"train": 13, "test": 3}
    assert list(dataset.manifest.near_duplicates.against) == [against]


def test_a_rerun_returns_at_once_and_other_options_are_refused(source, tmp_path, monkeypatch):
    run(source, tmp_path / "out", dedup=True)
    before = files(tmp_path / "out")

    def no_run(*_, **__):
        raise AssertionError("nothing was to be compared")

    with monkeypatch.context() as patch:
        patch.setattr(fingerprint, "run", no_run)
        patch.setattr(near_pairs, "near_pairs", no_run)
        run(source, tmp_path / "out", dedup=True)
        for options in (
            {},
            {"dedup": True, "seed": 1},
            {"dedup": True, "views": [ImageView(size=9)]},
        ):
            with pytest.raises(ValueError, match="--overwrite"):
                run(source, tmp_path / "out", **options)
        assert files(tmp_path / "out") == before
        # The views have no say in what is alike.
        run(source, tmp_path / "out", dedup=True, views=[ImageView(size=9)], overwrite=True)
    assert len(drops(tmp_path / "out")) == 4
    run(source, tmp_path / "out", overwrite=True)
    assert not (tmp_path / "out/near_duplicates").exists()


def test_a_stopped_screening_goes_on_and_ends_with_the_same_bytes(source, tmp_path, monkeypatch):
    monkeypatch.setattr("imp_data.pipelines.references.CHUNK", 4)
    run(source, tmp_path / "whole", dedup=True)
    real, done = fingerprint.fingerprint, []

    def killed(job):
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(job.chunk)
        real(job)

    with monkeypatch.context() as patch:
        patch.setattr(fingerprint, "run", lambda jobs, _: [killed(job) for job in jobs])
        with pytest.raises(KeyboardInterrupt):
            run(source, tmp_path / "out", dedup=True)
    assert not (tmp_path / "out/plan.json").exists()
    redone = []

    def counted(work, jobs, options):
        redone.extend(jobs)
        for_each(work, jobs, options)

    for_each = fingerprint.runner.for_each
    monkeypatch.setattr(fingerprint.runner, "for_each", counted)
    run(source, tmp_path / "out", dedup=True)
    assert len([job for job in redone if isinstance(job, fingerprint.FingerprintJob)]) == 5 - 2
    assert files(tmp_path / "out") == files(tmp_path / "whole")


def test_chunks_parts_and_threads_change_nothing(source, evaluation, tmp_path, monkeypatch):
    options = {"dedup": True, "against": [f"folder:{evaluation}"]}
    run(source, tmp_path / "one", **options)
    monkeypatch.setattr("imp_data.pipelines.references.CHUNK", 3)
    monkeypatch.setattr(near_pairs, "_BUCKET", 50)
    monkeypatch.setattr(near_pairs, "SMALL", 0)
    run(source, tmp_path / "two", num_threads=1, **options)
    assert files(tmp_path / "one") == files(tmp_path / "two")


def test_rounds_change_no_drop(source, tmp_path, monkeypatch):
    run(source, tmp_path / "one", dedup=True)
    monkeypatch.setattr(decisions, "_FIRST", 2)
    monkeypatch.setattr(decisions, "_GROWTH", 2)
    run(source, tmp_path / "two", dedup=True)
    assert drops(tmp_path / "one").keys() == drops(tmp_path / "two").keys()


def test_alike_from_where_the_user_says(source, tmp_path):
    gone = {}
    for least in (0.7, 0.95, 1.0):
        out = tmp_path / f"{least}"
        dataset = run(source, out, dedup=True, similarity={"image": least})
        gone[least] = set(drops(out))
        assert dict(dataset.manifest.near_duplicates.similarity) == {"image": least}
        assert f"image (alike from {least:g})" in (out / "near_duplicates/report.html").read_text()
        assert all(drop["similarity"] >= least for drop in drops(out).values())
    assert len(gone[0.95]) == 4
    assert gone[1.0] < gone[0.95] <= gone[0.7]
    with pytest.raises(ValueError, match="--overwrite"):
        run(source, tmp_path / "1.0", dedup=True)


def test_a_lost_chunk_is_an_error(source, tmp_path, monkeypatch):
    real = near_pairs.Collide.process

    def lossy(self, element):
        return [pair for pair in real(self, element) if pair[0][0] != "image"]

    monkeypatch.setattr(near_pairs.Collide, "process", lossy)
    with pytest.raises(RuntimeError, match="the runner lost chunk 0"):
        run(source, tmp_path / "out", dedup=True)
    assert not (tmp_path / "out/near_duplicates/report.json").exists()


def test_broken_files_with_equal_bytes_are_duplicates(source, tmp_path):
    shutil.copy(source / "train/a/broken.png", source / "train/a/broken-2.png")
    dataset = run(source, tmp_path / "out", dedup=True)
    (reason,) = [r for r in dataset.manifest.near_duplicates.dropped if "bytes" in r]
    assert reason == "has the same bytes as an example that is kept"
    assert sum(dataset.manifest.rejects.values()) == 1


def test_captions_are_compared_when_asked(tmp_path):
    pictures = {f"{i}.png": scene(i) for i in range(3)}
    root = save(tmp_path / "source", pictures)
    captions = ["a red box on a table", "A red box on a table.", "two dogs"]
    rows = [{"path": f"{i}.png", "caption": words} for i, words in enumerate(captions)]
    (root / "all.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    options = {"views": VIEWS, "progress": False, "dedup": True}
    spec = f"jsonl:{root / 'all.jsonl'}"
    one = build.build_dataset(source=spec, out=tmp_path / "one", **options)
    assert one.num_examples == {"train": 3}
    two = build.build_dataset(source=spec, out=tmp_path / "two", compare=["text"], **options)
    assert two.num_examples == {"train": 2}
    assert "red box" in (tmp_path / "two/near_duplicates/report.html").read_text()


def test_clips_by_their_frames_and_recordings_by_their_sound(tmp_path, clip):
    rng = np.random.default_rng(0)
    frames = [[np.asarray(scene(s + i // 8).resize((48, 64))) for i in range(24)] for s in (0, 50)]
    root = tmp_path / "source"
    (root / "test").mkdir(parents=True)
    (root / "train").mkdir()
    (root / "test/a.mp4").write_bytes(clip(frames[0], tone=300))
    noisy = [np.clip(f + rng.normal(0, 4, f.shape), 0, 255).astype(np.uint8) for f in frames[0]]
    (root / "train/copy.mp4").write_bytes(clip(noisy, tone=900))
    (root / "train/other.mp4").write_bytes(clip(frames[1], tone=300))
    views = [VideoView(frames=4, size=32, fps=2.0), AudioView(frames=16)]
    for compare, gone in (((), "train/copy.mp4"), (("audio",), "train/other.mp4")):
        out = tmp_path / f"out{len(compare)}"
        run(root, out, views=views, dedup=True, compare=compare)
        assert set(drops(out)) == {gone}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--compare", "text"], "name --against or --dedup as well"),
        (["--similarity", "image=0.9"], "name --against or --dedup as well"),
        (["--dedup", "--similarity", "0.9"], "'0.9' must be KIND=NUMBER, such as image=0.9"),
        (["--dedup", "--similarity", "image=high"], "'image=high' must be KIND=NUMBER"),
        (["--dedup", "--similarity", "image=90"], "image=90.0 must lie within 0.5 and 1"),
        (["--dedup", "--similarity", "image=nan"], "image=nan must lie within 0.5 and 1"),
        (["--dedup", "--similarity", "bytes=0.9"], "choose among image, video, audio, text"),
        (["--dedup", "--similarity", "text=0.9"], "compared by image; name --compare text"),
        (["--against", "/nowhere"], "no dataset lies there; write a built dataset's folder"),
        (["--against", "folder:/nowhere"], "no folder at /nowhere"),
        (["--against", "SMALL"], "image-8 can't be compared, which needs at least 32 pixels"),
        (["--against", "SMALL", "--compare", "audio"], "it stores no audio view, only image-8"),
    ],
)
def test_mistakes_take_one_line(source, evaluation, tmp_path, capsys, options, message):
    small = run(evaluation, tmp_path / "small", views=[ImageView(size=8)]).path
    options = [str(small) if option == "SMALL" else option for option in options]
    command = ["build", "--source", f"folder:{source}", "--out", str(tmp_path / "out")]
    assert cli.main([*command, "--views", "image-48", *options]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_the_command_line_says_what_was_dropped(source, tmp_path, capsys):
    out = tmp_path / "out"
    command = ["build", "--source", f"folder:{source}", "--out", str(out), "--views", "image-48"]
    assert cli.main([*command, "--dedup", "--max-reject-share", "0.2"]) == 0
    assert f"4 near duplicates dropped, shown in {out}" in capsys.readouterr().out
    assert cli.main(["inspect", str(out)]) == 0
    assert "dropped  4 near duplicates" in capsys.readouterr().out
