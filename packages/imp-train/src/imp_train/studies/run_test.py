"""A study runs once, whatever stops it, and says what each arm cost and came to."""

import dataclasses
import json

import pytest

from imp_train.studies import report, scoring
from imp_train.studies import run as run_lib
from imp_train.studies.run import RESULTS, read, run, spent


@pytest.fixture(scope="session")
def whole(study, tmp_path_factory, cache):
    root = tmp_path_factory.mktemp("study")
    return root, run(study, root, seeds=1, progress=False)


def test_each_arm_is_scored_on_what_was_held_out(whole):
    _, runs = whole
    assert [(own.arm, own.seed, own.steps) for own in runs] == [
        ("alternating", 0, 3),
        ("softmax", 0, 3),
    ]
    tasks = [{score.task for score in own.scores} for own in runs]
    assert tasks == [{"zero-shot", "linear-probe"}, {"linear-probe"}]
    for score in (score for own in runs for score in own.scores):
        assert (score.benchmark, score.modality) == ("colours-image", "image")
        assert 0 <= score.value <= 1


def test_what_is_done_is_not_done_again(whole, study, monkeypatch):
    root, runs = whole
    monkeypatch.setattr(run_lib, "train", None)
    assert run(study, root, seeds=1, progress=False) == runs == read(root)


def test_fewer_seeds_take_nothing_away(whole, study, tmp_path):
    _, runs = whole
    more = [*runs, *(dataclasses.replace(own, seed=1) for own in runs)]
    run_lib._write(tmp_path, more[::-1])
    fewer = dataclasses.replace(study, arms={"softmax": study.arms["softmax"]})
    assert run(fewer, tmp_path, seeds=1, progress=False) == runs[1:]
    assert len(read(tmp_path)) == 4


def test_a_study_that_was_stopped_goes_on_within_a_run(study, tmp_path, monkeypatch, cache):
    """The first run is stopped after its second step, as a signal stops it."""
    one = dataclasses.replace(
        study, arms={"softmax": study.arms["softmax"]}, tasks=("linear-probe",)
    )
    train, steps = run_lib.train, []

    def stopped(experiment, workdir, **options):
        summary = train(experiment, workdir, stop_after=None if steps else 2, **options)
        steps.append(summary.step)
        return summary

    monkeypatch.setattr(run_lib, "train", stopped)
    with pytest.raises(KeyboardInterrupt):
        run(one, tmp_path, seeds=1, progress=False)
    assert read(tmp_path) == []
    [done] = run(one, tmp_path, seeds=1, progress=False)
    assert steps == [2, 3]
    assert done.steps == 3
    assert not any(tmp_path.glob("runs/*/checkpoints"))


def test_an_arm_that_diverges_is_a_finding_and_the_others_go_on(study, tmp_path, cache):
    def hot(seed):
        experiment = study.arms["softmax"](seed)
        optimizer = dataclasses.replace(experiment.optimizer, peak_rate=1e30, max_skipped=0)
        return dataclasses.replace(experiment, optimizer=optimizer, log_every=1)

    arms = {"hot": hot, "softmax": study.arms["softmax"]}
    both = dataclasses.replace(study, arms=arms, tasks=("linear-probe",))
    diverged, other = run(both, tmp_path, seeds=1, progress=False)
    assert diverged.scores == ()
    assert diverged.parameters == other.parameters
    assert other.scores
    assert "hot: 1 of 1 runs diverged" in report.table(both, [diverged, other])


def test_results_of_other_data_are_refused(whole, study, tmp_path):
    root, _ = whole
    line = json.loads((root / RESULTS).read_text().splitlines()[0])
    (tmp_path / RESULTS).write_text(json.dumps(line | {"experiment": "0" * 64}) + "\n")
    with pytest.raises(ValueError, match="holds alternating of another study or other data"):
        run(study, tmp_path, seeds=1, progress=False)


def test_without_imp_eval_nothing_is_trained(study, tmp_path, monkeypatch):
    monkeypatch.setattr(scoring, "_MODULE", "imp_eval_that_is_missing")
    with pytest.raises(ValueError, match="pip install imp-eval"):
        run(study, tmp_path, seeds=1)


def test_what_was_spent_is_what_was_trained(study):
    """A picture of 32 pixels is 4 tokens, a name 16."""
    experiment = study.arms["alternating"](0)
    tokens, flops = spent(
        experiment, [("colours/image-label", "base"), ("colours/image-class", "base")]
    )
    assert tokens == 4 * (4 + 16) + 4 * 4
    alone = spent(experiment, [("colours/image-class", "base")])
    assert flops > 2 * alone[1]
