"""Samplers: proportions, and purity in (seed, step)."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imp_train.sampler import Interval, Multinomial, Permutation, Stratified, Uniform

WEIGHTS = [24, 3, 1]
# Chi-square with 2 degrees of freedom exceeds this once in ten thousand.
LIMIT = 18.4


def chi_square(sampler, expected, steps=4000):
    counts = np.bincount([sampler(WEIGHTS, 7, step) for step in range(steps)], minlength=3)
    shares = np.asarray(expected) / np.sum(expected) * steps
    return float(((counts - shares) ** 2 / shares).sum())


@pytest.mark.parametrize("sampler", [Multinomial(), Stratified(), Stratified(deck=7), Interval()])
def test_tasks_come_in_proportion_to_their_weights(sampler):
    assert chi_square(sampler, WEIGHTS) < LIMIT
    assert chi_square(sampler, [1, 1, 1]) > LIMIT


def test_temperature_flattens_the_proportions():
    assert chi_square(Multinomial(temperature=2.0), np.sqrt(WEIGHTS)) < LIMIT


@pytest.mark.parametrize("sampler", [Uniform(), Permutation()])
def test_some_samplers_heed_no_weight(sampler):
    assert chi_square(sampler, [1, 1, 1]) < LIMIT
    assert chi_square(sampler, WEIGHTS) > LIMIT


def test_a_round_of_permutations_has_each_task_once():
    rounds = [[Permutation()(WEIGHTS, 3, 3 * turn + i) for i in range(3)] for turn in range(50)]
    assert all(sorted(drawn) == [0, 1, 2] for drawn in rounds)
    assert len(set(map(tuple, rounds))) == 6


@settings(max_examples=50, deadline=None)
@given(weights=st.lists(st.floats(0.01, 100), min_size=1, max_size=9), steps=st.integers(1, 300))
def test_intervals_are_even(weights, steps):
    shares = np.asarray(weights) / np.sum(weights)
    # By definition: all turns of all tasks, as they fall due.
    due = [((j + 0.5) / s, i) for i, s in enumerate(shares) for j in range(int(steps * s) + 2)]
    drawn = [Interval()(weights, 0, step) for step in range(steps)]
    assert drawn == [i for _, i in sorted(due)[:steps]]


@settings(max_examples=50, deadline=None)
@given(
    weights=st.lists(st.floats(0.01, 100), min_size=1, max_size=9),
    deck=st.integers(1, 64),
    seed=st.integers(0, 2**32),
    first=st.integers(0, 100),
)
def test_a_deck_holds_each_task_as_often_as_its_weight_says(weights, deck, seed, first):
    sampler = Stratified(deck=deck)
    drawn = [sampler(weights, seed, first * deck + i) for i in range(deck)]
    shares = np.asarray(weights) / np.sum(weights) * deck
    counts = np.bincount(drawn, minlength=len(weights))
    assert (counts >= np.floor(shares - 1e-6)).all()
    # A remainder that rounding loses goes to the heaviest.
    assert (counts <= np.ceil(shares + 1e-6) + (shares == shares.max())).all()


@pytest.mark.parametrize("sampler", [Multinomial(), Stratified(), Uniform(), Permutation()])
def test_a_draw_is_a_pure_function_of_seed_and_step(sampler):
    forward = [sampler(WEIGHTS, 3, step) for step in range(200)]
    assert [sampler(WEIGHTS, 3, step) for step in reversed(range(200))] == forward[::-1]
    assert [sampler(WEIGHTS, 4, step) for step in range(200)] != forward
    assert [sampler([w * 10 for w in WEIGHTS], 3, step) for step in range(200)] == forward
