import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier

from imp_eval.evaluation import neighbours


@pytest.mark.parametrize(("m", "n"), [(50, 10), (300, 257)])
def test_votes_are_scikit_learns_with_dinos_weights(m, n) -> None:
    rng = np.random.default_rng(m)
    train, queries = rng.normal(size=(m, 6)), rng.normal(size=(n, 6))
    labels = np.r_[np.arange(4), rng.integers(0, 4, m - 4)]
    want = KNeighborsClassifier(
        n_neighbors=20, metric="cosine", weights=lambda distance: np.exp((1 - distance) / 0.07)
    ).fit(train, labels)
    got = neighbours.votes(train, labels, 3 * queries, num_classes=4)
    np.testing.assert_allclose(got, want.predict_proba(queries), atol=1e-4)


def test_few_examples_all_vote() -> None:
    train = np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    got = neighbours.votes(train, np.array([0, 1, 1]), np.array([[2.0, 0.0]]), num_classes=3)
    weights = np.exp(np.array([1, 0, 0]) / 0.07)
    weights /= weights.sum()
    np.testing.assert_allclose(got[0], [weights[0], weights[1:].sum(), 0], atol=1e-6)
