"""A run that stopped or was killed goes on to exactly the same end."""

import dataclasses
import json
import shutil

import numpy as np
import pytest

from imp_data.stores.lock import sole_writer
from imp_model import bundle
from imp_train.checkpoint import Checkpoints
from imp_train.config import OptimizerConfig
from imp_train.initial import classifiers, initial_state
from imp_train.inputs import load_datasets
from imp_train.train import train


def restored(experiment, workdir):
    checkpoints = Checkpoints(workdir / "checkpoints")
    labels = classifiers(experiment, load_datasets(experiment))
    state = checkpoints.restore(initial_state(experiment, labels))
    checkpoints.close()
    return state


def same_end(experiment, a, b):
    """Parameters and moments bit for bit, positions, metrics and the bundle's parameters."""
    ours, theirs = restored(experiment, a), restored(experiment, b)
    assert (ours.step, ours.positions, ours.skipped) == (
        theirs.step,
        theirs.positions,
        theirs.skipped,
    )
    for name, value in ours.arrays().items():
        np.testing.assert_array_equal(value, theirs.arrays()[name], err_msg=name)
    for file in ("metrics.jsonl", "bundle/params.safetensors"):
        assert (a / file).read_bytes() == (b / file).read_bytes(), file


def test_a_run_ends_with_a_bundle_and_a_record_of_every_step(whole, make):
    workdir, summary = whole
    assert (summary.finished, summary.step, summary.signatures) == (True, 6, 2)
    records = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    assert [record["step"] for record in records] == list(range(6))
    assert {record["task"] for record in records} == {"pictures", "classes"}
    assert all(np.isfinite(record["loss"]) for record in records)
    served = bundle.load(workdir / "bundle")
    assert served.pairs == (("image", "text"),)
    assert served.classifiers == {"colours": ("blue", "red")}
    assert served.metadata["step"] == 6
    assert served.tokenizer_path.read_bytes() == make().tokenizer.read_bytes()
    assert restored(make(), workdir).positions == {
        f"{task}/base": sum(record["task"] == task for record in records)
        for task in ("pictures", "classes")
    }


def test_stopped_and_resumed_equals_one_go(whole, make, tmp_path, cache):
    """And nothing is compiled that the first run had compiled."""
    programs = {path.name for path in cache.glob("*-cache")}
    summary = train(make(), tmp_path, progress=False, stop_after=4)
    assert (summary.finished, summary.step) == (False, 4)
    assert not (tmp_path / "bundle").exists()
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 4
    assert train(make(), tmp_path, progress=False).finished
    assert {path.name for path in cache.glob("*-cache")} - programs == set()
    same_end(make(), whole[0], tmp_path)


def test_bundles_on_the_way_change_nothing_and_hold_the_model_of_their_step(whole, make, tmp_path):
    """Also those that a resumed run writes again."""
    train(make(), tmp_path, progress=False, stop_after=3, bundle_every=2)
    first = bundle.digest_of(tmp_path / "bundles/step-00000002")
    train(make(), tmp_path, progress=False, stop_after=4, bundle_every=2)
    ours = restored(make(), tmp_path).arrays()
    train(make(), tmp_path, progress=False, bundle_every=2)
    same_end(make(), whole[0], tmp_path)
    found = sorted(path.name for path in (tmp_path / "bundles").iterdir())
    assert found == ["step-00000002", "step-00000004"]
    assert bundle.digest_of(tmp_path / "bundles/step-00000002") == first
    fourth = bundle.load(tmp_path / "bundles/step-00000004")
    assert fourth.metadata["step"] == 4
    for name, value in bundle.flatten(fourth.model.parts).items():
        held = [array for key, array in ours.items() if key.endswith(name)]
        assert any(np.array_equal(value, array) for array in held), name
    with pytest.raises(ValueError, match="bundle_every -1 must be at least 0"):
        train(make(), tmp_path, progress=False, bundle_every=-1)


def test_killed_after_a_checkpoint_equals_one_go(whole, make, tmp_path):
    """What a kill in step 5 leaves: the checkpoint of step 3, more metrics, half a line."""
    workdir = tmp_path / "killed"
    shutil.copytree(whole[0], workdir)
    shutil.rmtree(workdir / "checkpoints" / "6")
    shutil.rmtree(workdir / "bundle")
    lines = (workdir / "metrics.jsonl").read_text().splitlines(keepends=True)
    (workdir / "metrics.jsonl").write_text("".join(lines[:4]) + lines[4][:20])
    assert restored(make(), workdir).step == 3
    train(make(), workdir, progress=False)
    same_end(make(), whole[0], workdir)


def test_a_finished_run_is_not_trained_further(whole, make):
    before = (whole[0] / "bundle" / "params.safetensors").read_bytes()
    summary = train(make(), whole[0], progress=False)
    assert (summary.finished, summary.step, summary.signatures) == (True, 6, 0)
    assert (whole[0] / "bundle" / "params.safetensors").read_bytes() == before


def test_the_workdir_of_another_experiment_is_refused(whole, make):
    with pytest.raises(ValueError, match=r"another experiment \(it differs in steps, seed\)"):
        train(make(seed=1, steps=7), whole[0], progress=False)


def test_the_workdir_of_other_data_is_refused(whole, make, monkeypatch):
    other = dict(load_datasets(make()))
    other["classes"] = dataclasses.replace(other["classes"], plan_digest="another")
    monkeypatch.setattr("imp_train.train.load_datasets", lambda experiment: other)
    with pytest.raises(ValueError, match=r"another experiment \(it differs in data\)"):
        train(make(), whole[0], progress=False)


def test_what_is_refused_leaves_the_workdir_free(make, tmp_path):
    small = dataclasses.replace(make().model, vocab_size=10)
    with pytest.raises(ValueError, match="vocab_size 10"):
        train(make(model=small), tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


def test_one_process_trains_in_a_workdir(make, tmp_path):
    with sole_writer(tmp_path), pytest.raises(ValueError, match="another process"):
        train(make(), tmp_path, progress=False)


def test_a_run_whose_updates_are_not_finite_stops_at_the_bound(make, tmp_path):
    hot = OptimizerConfig(peak_rate=1e30, max_skipped=2)
    with pytest.raises(FloatingPointError, match=r"3 updates .*rate 1e\+30") as error:
        train(make(optimizer=hot, log_every=1), tmp_path, progress=False)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "bundle").exists()


def test_one_classifier_over_two_sets_of_labels_is_refused(make):
    experiment = make()
    classes = experiment.tasks[1]
    other = dataclasses.replace(classes, name="more")
    experiment = make(tasks=(classes, other))
    datasets = load_datasets(experiment)
    assert classifiers(experiment, datasets) == {"colours": ("blue", "red")}
    datasets["more"] = dataclasses.replace(datasets["more"], label_names=("cyan", "red"))
    with pytest.raises(ValueError, match=r"'colours' .*'classes' and 'more'"):
        classifiers(experiment, datasets)


def test_accumulating_and_averaging_stop_and_go_on_too(make, tmp_path):
    config = dataclasses.replace(
        make().optimizer, accumulate=2, average=0.9, momentum_dtype="bfloat16"
    )
    experiment = make(optimizer=config)
    train(experiment, tmp_path / "whole", progress=False)
    train(experiment, tmp_path / "parts", progress=False, stop_after=4)
    train(experiment, tmp_path / "parts", progress=False)
    same_end(experiment, tmp_path / "whole", tmp_path / "parts")
    end = restored(experiment, tmp_path / "whole")
    assert sum(end.positions.values()) == 2 * experiment.steps
    served = bundle.load(tmp_path / "whole" / "bundle").model.parts["encoder"]
    average = end.moments["encoder"].average
    np.testing.assert_array_equal(served.norm.scale[...], average.norm.scale[...])
    assert not np.array_equal(served.norm.scale[...], end.parts["encoder"].norm.scale[...])


def test_mixed_steps_stop_and_go_on_too(make, tmp_path):
    """A record and a position for each of a step's batches, whatever tasks they are drawn from."""
    config = dataclasses.replace(make().optimizer, accumulate=3)
    experiment = make(optimizer=config, mixed=True, steps=4)
    train(experiment, tmp_path / "whole", progress=False)
    train(experiment, tmp_path / "parts", progress=False, stop_after=2)
    train(experiment, tmp_path / "parts", progress=False)
    same_end(experiment, tmp_path / "whole", tmp_path / "parts")
    lines = (tmp_path / "whole" / "metrics.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    assert [record["step"] for record in records] == [step for step in range(4) for _ in range(3)]
    tasks = [record["task"] for record in records]
    assert any(len(set(tasks[k : k + 3])) > 1 for k in range(0, 12, 3))
    assert restored(experiment, tmp_path / "whole").positions == {
        f"{task}/base": tasks.count(task) for task in set(tasks)
    }
