import numpy as np
import pytest
import scipy.stats

from imp_eval import zero_shot
from imp_eval.evaluation.intervals import Bootstrap

BOOTSTRAP = Bootstrap(num_resamples=4000)


def expected(values, statistic):
    found = scipy.stats.bootstrap(
        (values,), statistic, method="percentile", n_resamples=4000, rng=np.random.default_rng(1)
    )
    return found.confidence_interval


@pytest.mark.parametrize("n", [7, 60])
def test_mean_and_median_agree_with_scipy(n) -> None:
    values = np.random.default_rng(n).gamma(2.0, 3.0, n)
    width = np.std(values) / np.sqrt(n)
    for got, statistic in ((BOOTSTRAP.mean, np.mean), (BOOTSTRAP.median, np.median)):
        np.testing.assert_allclose(got(values), expected(values, statistic), atol=0.15 * width)


def test_mean_per_class_agrees_with_a_loop() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 30)
    correct = rng.random(30)
    draws = np.random.default_rng(5)
    loop = []
    for _ in range(4000):
        rows = draws.integers(0, 30, 30)
        loop.append(zero_shot.mean_per_class(correct[rows], labels[rows]))
    got = BOOTSTRAP.mean_per_class(correct, labels)
    np.testing.assert_allclose(got, np.quantile(loop, [0.025, 0.975]), atol=0.01)


def test_groups_come_and_go_together() -> None:
    """Five equal copies of each value tell no more than one."""
    values = np.random.default_rng(2).normal(size=40)
    copies, groups = np.repeat(values, 5), np.repeat(np.arange(40), 5)
    alone = BOOTSTRAP.mean(values)
    np.testing.assert_allclose(BOOTSTRAP.mean(copies, groups), alone, rtol=1e-12)
    np.testing.assert_allclose(BOOTSTRAP.median(copies, groups), BOOTSTRAP.median(values))
    low, high = BOOTSTRAP.mean(copies)
    assert high - low < 0.6 * (alone[1] - alone[0])
    # Groups need be neither in order nor without gaps.
    shuffle = np.random.default_rng(3).permutation(200)
    shuffled = BOOTSTRAP.mean(copies[shuffle], 10 * groups[shuffle])
    np.testing.assert_allclose(shuffled, alone, rtol=1e-12)


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    rng = np.random.default_rng(4)
    small = Bootstrap(num_resamples=300, level=0.9)
    hits = [
        low <= 0.3 <= high for low, high in (small.mean(rng.random(120) < 0.3) for _ in range(300))
    ]
    # Binomial: 0.9 of 300, its deviation 0.017, and less for small samples.
    assert 0.84 <= np.mean(hits) <= 0.95


def test_equal_seeds_are_equal_intervals_in_any_blocks(monkeypatch) -> None:
    values = np.random.default_rng(6).random(50)
    whole = Bootstrap(seed=3).mean(values)
    assert Bootstrap(seed=3).mean(values) == whole
    assert Bootstrap(seed=4).mean(values) != whole
    assert Bootstrap().mean(np.full(9, 0.25)) == (0.25, 0.25)
    assert Bootstrap().median(np.array([3.0])) == (3.0, 3.0)


def test_bad_bootstraps_are_refused() -> None:
    with pytest.raises(ValueError, match="0 resamples"):
        Bootstrap(num_resamples=0)
    with pytest.raises(ValueError, match=r"level 95 must lie"):
        Bootstrap(level=95)
