"""The AGD loop descends functions that have nothing to do with images or text."""

import json

import jax.numpy as jnp
import numpy as np
import pytest

from imp_train import metrics
from imp_train.sampler import Interval, Multinomial
from imp_train.studies.convergence import classifier, factorization, least_squares, study
from imp_train.studies.convergence.functions import Descended, Function, descended
from imp_train.studies.convergence.question import Found, Question


def bowls(steps, sampler):
    """Two bowls around 0 and 2 that share `w`; the second alone moves `v`."""
    tasks = [
        Function(name="a", loss=lambda parts, batch: jnp.sum(parts["w"] ** 2), moves=("w",)),
        Function(
            name="b",
            loss=lambda parts, batch: jnp.sum((parts["w"] - batch) ** 2) + parts["v"] ** 2,
            moves=("w", "v"),
            draw=lambda rng: np.float32(2),
        ),
    ]
    return Descended(tasks, sampler=sampler, steps=steps, rate=lambda step: 0.25, seed=0)


START = {"w": np.float32(4), "v": np.float32(1)}


def test_a_step_is_gradient_descent_on_one_task_and_moves_its_parts_alone(tmp_path):
    state = descended(bowls(3, Interval()), START, tmp_path, "{}")
    # a: 4 -> 2; b: 2 stays, v halves; a: 2 -> 1.
    assert (float(state.parts["w"]), float(state.parts["v"])) == (1.0, 0.5)
    assert state.positions == {"a": 2, "b": 1}
    assert [(r["task"], r["loss"]) for r in metrics.read(tmp_path)] == [
        ("a", 16),
        ("b", 1),
        ("a", 4),
    ]


def test_stopped_and_resumed_equals_one_go(tmp_path):
    problem = bowls(40, Multinomial())
    whole = descended(problem, START, tmp_path / "whole", "{}")
    descended(problem, START, tmp_path / "parts", "{}", stop_after=17)
    parts = descended(problem, START, tmp_path / "parts", "{}")
    assert whole.parts == parts.parts
    files = [(tmp_path / name / "metrics.jsonl").read_text() for name in ("whole", "parts")]
    assert files[0] == files[1]


def test_least_squares_end_near_the_closed_form_where_the_rate_goes_to_zero(tmp_path, monkeypatch):
    monkeypatch.setattr(least_squares, "_STEPS", 1_000)
    measure = least_squares.QUESTION.measure
    assert measure("interval", "to zero", 0, tmp_path / "zero") < 3e-4
    assert measure("interval", "fixed", 0, tmp_path / "fixed") > 1e-3


def test_the_closed_form_is_that_of_the_tasks_weighted_sum():
    tasks, a, b = least_squares.least_squares(3)
    w = np.random.default_rng(0).normal(size=a.shape[1]).astype(np.float32)
    losses = [float(task.loss({"w": 0, "weights": w}, None)) for task in tasks]
    mean = np.average(losses, weights=[task.weight for task in tasks])
    assert 0.5 * np.sum((a @ w - b) ** 2) == pytest.approx(mean, rel=1e-5)


def test_a_factorisation_is_alternating_gradient_descent_by_numpy(tmp_path):
    """Iterations to epsilon, and a worse condition takes more, within the bound."""
    rng = np.random.default_rng(1)
    a = factorization.matrix(4.0, rng)
    values = np.linalg.svd(a, compute_uv=False)
    assert values[:5] == pytest.approx(np.geomspace(1, 0.25, 5))
    x, y = (v.astype(np.float64) for v in factorization.start("unbalanced", a, rng).values())
    iterations = 0
    while np.sum((a - x @ y.T) ** 2) > factorization.EPSILON * np.sum(a**2):
        x = x + 0.5 * (a - x @ y.T) @ y
        y = y + 0.5 * (a - x @ y.T).T @ x
        iterations += 1
    measure = factorization.QUESTION.measure
    found = measure("unbalanced", "4", 1, tmp_path / "4")
    assert abs(found - iterations) <= 1
    assert measure("unbalanced", "1", 1, tmp_path / "1") < found < factorization.bound("4")


def test_the_classifiers_points_can_be_told_apart_and_a_network_learns_them(tmp_path, monkeypatch):
    monkeypatch.setattr(classifier, "_STEPS", 1_500)
    found = classifier.QUESTION.measure("by turns", "spirals", 0, tmp_path / "x")
    assert found > 0.6, "chance is a third"
    assert (tmp_path / "by turns-both-0" / "checkpoints").is_dir()


@pytest.fixture
def question():
    """Measures the seed, but what is "far" of arm b never."""
    calls = []

    def measure(arm, setting, seed, workdir):
        calls.append((arm, setting, seed))
        return None if (arm, setting) == ("b", "far") else float(seed)

    own = Question(
        name="question",
        asks="how much?",
        value="much",
        arms=("a", "b"),
        settings=("near", "far"),
        setting="place",
        measure=measure,
    )
    return own, calls


def test_what_is_done_is_not_done_again(question, tmp_path):
    own, calls = question
    first = study.run(tmp_path, seeds=2, questions=[own], progress=False)
    assert len(calls) == len(first) == 8
    assert study.run(tmp_path, seeds=2, questions=[own], progress=False) == first
    assert len(calls) == 8
    assert len(study.run(tmp_path, seeds=3, questions=[own], progress=False)) == 12
    lines = (tmp_path / "results.jsonl").read_text().splitlines()
    assert Found(**json.loads(lines[0])) == first[0]


def test_the_page_tells_means_and_what_was_not_reached(question, tmp_path):
    own, _ = question
    found = study.run(tmp_path, seeds=2, questions=[own], progress=False)
    text = study.table(found, [own])
    assert "| a | 0.5 ± 0.5 | 0.5 ± 0.5 |" in text
    assert "| b | 0.5 ± 0.5 | 2 of 2 not reached |" in text
    pages = [study.write(found, tmp_path / name, [own]) for name in "ab"]
    for one, other in zip(*pages, strict=True):
        assert one.read_bytes() == other.read_bytes()


def test_a_question_that_all_arms_answer_has_no_gaps(question):
    own, _ = question
    found = [
        Found(question="question", arm=a, setting=s, seed=0, value=200.4)
        for a in own.arms
        for s in own.settings
    ]
    assert "| b | 200 | 200 |" in study.table(found, [own])
