import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from imp_eval.evaluation import linear_probe


def blobs(n, noise, seed):
    """Three classes around three points of ten dimensions."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, n)
    centres = np.random.default_rng(0).normal(size=(3, 10))
    return (centres[labels] + noise * rng.normal(size=(n, 10))).astype(np.float32), labels


@pytest.mark.parametrize("c", [1e-3, 1.0, 30.0])
def test_it_is_scikit_learns_regression(c) -> None:
    x, y = blobs(90, 1.5, seed=1)
    want = LogisticRegression(C=c, max_iter=5000, tol=1e-8).fit(x.astype(float), y)
    fitted, converged = linear_probe.fit(x, y, c, 3, 2000)
    assert converged
    got = x @ fitted[:-1] + fitted[-1]
    wanted = want.decision_function(x.astype(float))
    # A bias added to every class is free.
    got, wanted = got - got.mean(1, keepdims=True), wanted - wanted.mean(1, keepdims=True)
    np.testing.assert_allclose(got, wanted, atol=2e-2 * np.abs(wanted).max())
    np.testing.assert_allclose(
        linear_probe.fit(x, y, c, 3, 2000, start=fitted + 0.1)[0][:-1], fitted[:-1], atol=2e-2
    )


def test_the_strength_is_chosen_on_the_validation_part() -> None:
    x, y = blobs(60, 3.0, seed=2)
    v, w = blobs(400, 3.0, seed=3)
    found = linear_probe.probe(x, y, v, w, num_classes=3)
    accuracies = list(found.strengths.values())
    assert len(found.strengths) == 11
    assert found.strengths[found.chosen] == max(accuracies)
    # Noisy examples want regularisation: neither end of the sweep is best.
    assert max(accuracies) > max(accuracies[0], accuracies[-1])
    q, truth = blobs(2000, 3.0, seed=4)
    accuracy = (found.logits(q).argmax(1) == truth).mean()
    both = LogisticRegression(C=1e6, max_iter=5000).fit(np.r_[x, v], np.r_[y, w])
    assert accuracy >= both.score(q, truth) - 0.02


def test_of_equally_good_strengths_that_of_the_least_cross_entropy_is_taken() -> None:
    assert linear_probe.best({0.0: (0.5, 0.1), -2.0: (0.7, 0.9), 2.0: (0.7, 0.3)}) == 2.0


def test_classes_that_are_easily_told_apart_are_not_left_to_vanishing_weights() -> None:
    """Most strengths classify all of these, the least of them by differences of a millionth."""
    x, y = blobs(90, 0.1, seed=6)
    found = linear_probe.probe(x[:60], y[:60], x[60:], y[60:], num_classes=3)
    assert list(found.strengths.values()).count(1.0) >= 6
    assert found.strengths[found.chosen] == 1.0
    assert found.chosen > 1e-2


def test_features_of_any_scale_and_constant_ones() -> None:
    x, y = blobs(90, 0.3, seed=5)
    scaled = x * np.float32(1e4) + np.float32(7e4)
    scaled[:, 3] = 5.0
    found = linear_probe.probe(scaled[:60], y[:60], scaled[60:], y[60:], num_classes=3)
    assert (found.logits(scaled).argmax(1) == y).mean() > 0.98
    assert found.converged
    with pytest.raises(ValueError, match="two classes or more"):
        linear_probe.probe(x[:3], np.zeros(3, int), x[3:], y[3:], num_classes=3)
