import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from imp_eval.evaluation.average_precision import average_precision, resampled_mean


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), levels=st.integers(1, 20), n=st.integers(2, 30))
def test_it_agrees_with_scikit_learn_ties_included(seed, levels, n) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, levels, (n, 3)).astype(np.float32)
    relevant = rng.random((n, 3)) < 0.4
    relevant[0] = True
    want = [average_precision_score(r, s) for s, r in zip(scores.T, relevant.T, strict=True)]
    np.testing.assert_allclose(average_precision(scores, relevant), want)


def test_a_class_without_examples_has_none() -> None:
    relevant = np.array([[True, False], [False, False]])
    got = average_precision(np.array([[0.1, 0.2], [0.3, 0.4]]), relevant)
    assert got[0] == 0.5
    assert np.isnan(got[1])
    mean = resampled_mean(np.zeros((2, 2)), relevant, np.array([[1.0, 1.0], [0.0, 2.0]]))
    # In the second resample no class has an example.
    np.testing.assert_allclose(mean, [0.5, 0.0])
    with pytest.raises(ValueError, match="1 of 4 scores are NaN"):
        average_precision(np.array([[0.1, np.nan], [0.3, 0.4]]), relevant)


def test_weights_are_repetitions() -> None:
    rng = np.random.default_rng(0)
    scores, relevant = rng.integers(0, 5, (12, 4)).astype(float), rng.random((12, 4)) < 0.5
    weights = rng.integers(0, 4, (6, 12)).astype(float)
    for own, got in zip(weights, resampled_mean(scores, relevant, weights), strict=True):
        rows = np.repeat(np.arange(12), own.astype(int))
        assert got == pytest.approx(np.nanmean(average_precision(scores[rows], relevant[rows])))
