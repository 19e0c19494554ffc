import json
import shutil

import pytest
from tensorboardX.proto.event_pb2 import Event

from imp_data.stores.tfrecord import TFRecordReader
from imp_eval.cli import main
from imp_eval.conftest import save_bundle
from imp_eval.evaluation import watch
from imp_eval.evaluation.results import Score
from imp_eval.evaluation.spec import Spec


@pytest.fixture
def run(tmp_path, bundle_path):
    """A workdir with the bundle of step 3, and the next one ready to be put there."""
    workdir = tmp_path / "run"
    shutil.copytree(bundle_path, workdir / "bundles/step-00000003")
    # One that is being written.
    (workdir / "bundles/.step-00000006-xyz").mkdir()
    return workdir


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    return save_bundle(tmp_path_factory.mktemp("other") / "later", seed=1)


def records(workdir):
    return [json.loads(line) for line in (workdir / "eval.jsonl").read_text().splitlines()]


def scalars(workdir):
    """(tag, step) -> value of all event files."""
    found = {}
    for file in (workdir / "tensorboard/eval").iterdir():
        for payload in TFRecordReader(file):
            event = Event.FromString(payload)
            found |= {(v.tag, event.step): v.simple_value for v in event.summary.value}
    return found


def test_bundles_are_scored_once_as_they_come(run, other, pictures, cache) -> None:
    specs = [Spec.parse(f"mine=folder:{pictures}")]
    waited = []

    def pause():
        waited.append(len(records(run)))
        if len(waited) == 2:
            shutil.copytree(other, run / "bundle")
        assert len(waited) < 3

    assert watch.watch_run(run, specs, batch_size=8, pause=pause, progress=False) == 2
    assert waited == [1, 1]
    first, last = records(run)
    assert (first["benchmark"], first["step"], first["n"]["zero-shot/image/top-1"]) == (
        "mine",
        3,
        7,
    )
    assert first["bundle"] != last["bundle"]
    value, low, high = last["scores"]["zero-shot/image/top-1"]
    assert low <= value <= high
    shown = scalars(run)
    assert shown["eval/mine/zero-shot/image/top-1", 3] == pytest.approx(value)
    assert watch.watch_run(run, specs, batch_size=8, pause=pause, progress=False) == 0
    assert len(records(run)) == 2


def test_a_line_cut_short_by_a_kill_is_scored_again(run, pictures, cache) -> None:
    specs = [Spec.parse(f"mine=folder:{pictures}")]
    assert watch.watch_run(run, specs, batch_size=8, once=True, progress=False) == 1
    path = run / "eval.jsonl"
    path.write_bytes(path.read_bytes()[:40])
    assert watch.watch_run(run, specs, batch_size=8, once=True, progress=False) == 1
    lines = path.read_text().splitlines()
    assert len(lines) == 2
    assert json.loads(lines[1])["benchmark"] == "mine"
    # Another benchmark is scored on what was exported before.
    more = [*specs, Spec.parse(f"few=folder:{pictures},sample=3")]
    assert watch.watch_run(run, more, batch_size=8, once=True, progress=False) == 1
    assert [r["benchmark"] for r in map(json.loads, path.read_text().splitlines()[1:])] == [
        "mine",
        "few",
    ]


def test_other_tasks_are_scored_on_what_was_exported_before(run, pictures, cache) -> None:
    specs = [Spec.parse(f"mine=folder:{pictures}")]

    def score(*tasks):
        return watch.watch_run(run, specs, tasks=tasks, batch_size=8, once=True, progress=False)

    assert score("zero-shot") == 1
    assert score("zero-shot") == 0
    assert score("knn", "zero-shot") == 1
    assert score("knn") == 0
    assert score() == 1
    assert score("linear-probe") == 0
    assert [own["tasks"] for own in records(run)] == [["zero-shot"], ["knn", "zero-shot"], []]


def test_a_bundle_that_goes_away_is_passed_over(run, pictures, cache, monkeypatch) -> None:
    (listed,) = watch.exported(run)
    shutil.rmtree(listed)
    monkeypatch.setattr(watch, "exported", lambda workdir: [listed])
    specs = [Spec.parse(f"mine=folder:{pictures}")]
    assert watch.watch_run(run, specs, batch_size=8, once=True, progress=False) == 0
    assert not (run / "eval.jsonl").exists()


def test_tags_are_such_as_tensorboard_takes() -> None:
    about = {"value": 0.5, "low": 0.4, "high": 0.6, "chance": None, "n": 9}
    score = Score(benchmark="b", task="retrieval", modality="text→image", metric="R@10", **about)
    assert watch.tag(score) == "retrieval/text-to-image/R10"


def test_what_a_user_gets_wrong(tmp_path, capsys) -> None:
    assert main(["watch", str(tmp_path / "none"), "--benchmark", "folder:x"]) == 2
    assert "no folder" in capsys.readouterr().err
    assert main(["watch", str(tmp_path), "--every-seconds", "0"]) == 2
    assert "--every-seconds 0.0 must be above 0" in capsys.readouterr().err
    with pytest.raises(ValueError, match="no benchmark; give --benchmark"):
        watch.watch_run(tmp_path, [])
    assert main(["watch", str(tmp_path), "--benchmark", "x"]) == 2
    assert "benchmark 'x' is unclear" in capsys.readouterr().err
    run = tmp_path / "run"
    run.mkdir()
    (run / "experiment.json").write_text("{}")
    assert main(["watch", str(tmp_path), "--benchmark", "folder:x"]) == 2
    assert f"no run at {tmp_path}; {run} is one: name that" in capsys.readouterr().err
    assert not (tmp_path / "tensorboard").exists()
