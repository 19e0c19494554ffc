"""Adaptive samplers: what they learn, what they keep to, and that they go on where they stopped."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imp_train.adaptive import Blocks, ByProgress, ByReward
from imp_train.metrics import read
from imp_train.train import train

KINDS = [ByProgress, ByReward]
WEIGHTS = [3.0, 1.0, 1.0]


def run(blocks, losses, start, stop):
    """Steps whose loss is losses(task, turn); the tasks they drew."""
    drawn = []
    for step in range(start, stop):
        index = blocks(step)
        drawn.append(index)
        blocks.observe(step, index, losses(index, step))
    return drawn


def probabilities(blocks):
    """Of the block under way."""
    return np.array(blocks.saved()["probabilities"][0])


def falling(index, step):
    """Task 1 learns, task 0 is done, task 2 is noise that no one can learn."""
    return {0: 0.1, 1: 5 * 0.99**step, 2: 3.0}[index]


@pytest.mark.parametrize("kind", KINDS)
def test_what_still_learns_comes_more_often_and_nothing_is_forgotten(kind):
    sampler = kind(every=50, floor=0.2)
    blocks = Blocks(sampler, WEIGHTS, seed=0)
    drawn = run(blocks, falling, 0, 400)
    first, last = (np.bincount(part, minlength=3) / 100 for part in (drawn[:100], drawn[300:]))
    np.testing.assert_allclose(first, [0.6, 0.2, 0.2], atol=0.15)
    assert last[1] > 2 * first[1]
    floor = {ByProgress: 0.2 * np.array([0.6, 0.2, 0.2]), ByReward: np.full(3, 0.2 / 3)}[kind]
    assert (probabilities(blocks) >= floor - 1e-9).all()


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_solved_does_not_keep_the_steps_from_what_learns_slowly(kind):
    def losses(index, step):
        # Task 0 is solved within a hundred steps, and its loss halves every fifty for ever.
        return {0: 4 * 0.5 ** (step / 50), 1: 4 - step / 300, 2: 4.0}[index]

    drawn = run(Blocks(kind(every=50, floor=0.2), [1.0, 1.0, 1.0], seed=0), losses, 0, 800)
    assert drawn[600:].count(0) < 100


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=30, deadline=None)
@given(
    losses=st.lists(st.floats(allow_nan=True, allow_infinity=True), min_size=1, max_size=20),
    seed=st.integers(0, 99),
)
def test_any_losses_leave_probabilities_of_all_above_the_floor(kind, losses, seed):
    blocks = Blocks(kind(every=5, floor=0.1), WEIGHTS, seed)
    for step in range(60):
        index = blocks(step)
        blocks.observe(step, index, losses[step % len(losses)])
        assert probabilities(blocks).min() >= 0.1 / 5 - 1e-9
        np.testing.assert_allclose(probabilities(blocks).sum(), 1, rtol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=20, deadline=None)
@given(stop=st.integers(0, 120))
def test_it_goes_on_from_plain_numbers(kind, stop):
    sampler = kind(every=20)
    whole = run(Blocks(sampler, WEIGHTS, 5), falling, 0, 140)
    blocks = Blocks(sampler, WEIGHTS, 5)
    part = run(blocks, falling, 0, stop)
    again = Blocks(sampler, WEIGHTS, 5, json.loads(json.dumps(blocks.saved())))
    assert part + run(again, falling, stop, 140) == whole


def test_it_decides_a_block_ahead_and_no_more():
    blocks = Blocks(ByProgress(every=20), WEIGHTS, 0)
    assert blocks.decided == 40
    blocks(39)
    with pytest.raises(IndexError, match="step 40 is not decided"):
        blocks(40)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"every": 0}, "every 0 must be at least 1"),
        ({"floor": 0.0}, "floor 0.0 must be above 0"),
        ({"floor": 1.5}, "floor 1.5 must be"),
    ],
)
@pytest.mark.parametrize("kind", KINDS)
def test_wrong_settings_are_said(kind, options, message):
    with pytest.raises(ValueError, match=message):
        kind(**options)


def test_a_run_that_stops_within_a_block_goes_on_as_if_it_had_not(make, tmp_path):
    experiment = make(sampler=ByProgress(every=8), steps=30, log_every=3, checkpoint_every=50)
    train(experiment, tmp_path / "whole", progress=False)
    train(experiment, tmp_path / "parts", progress=False, stop_after=13)
    train(experiment, tmp_path / "parts", progress=False)
    assert read(tmp_path / "parts") == read(tmp_path / "whole")


def test_losses_read_too_seldom_are_refused(make, tmp_path):
    experiment = make(sampler=ByProgress(every=8), log_every=5)
    with pytest.raises(ValueError, match=r"decides every 8 steps.* every 9 or more"):
        train(experiment, tmp_path / "run", progress=False)
