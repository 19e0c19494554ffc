import numpy as np
import pytest
from sklearn import metrics

from imp_eval.evaluation.classification import classified, confusion_of
from imp_eval.evaluation.intervals import Bootstrap

NAMES = tuple("abcdefgh")
ABOUT = {"benchmark": "b", "task": "zero-shot", "modality": "image", "bootstrap": Bootstrap()}


def test_figures_agree_with_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 7, 80)  # of h there is none
    scores = rng.normal(size=(80, 8)) + 1.5 * np.eye(8)[truth]
    found = classified(scores, [(label,) for label in truth.tolist()], NAMES, **ABOUT)
    figures = {score.metric: score for score in found.scores}
    for k in (1, 5):
        want = metrics.top_k_accuracy_score(truth, scores, k=k, labels=range(8))
        assert figures[f"top-{k}"].value == pytest.approx(want)
    answers = scores.argmax(1)
    # Balanced accuracy, which warns where a class is answered that is never true.
    want = metrics.recall_score(truth, answers, average="macro", labels=range(7))
    assert figures["mean-per-class"].value == pytest.approx(want)
    np.testing.assert_array_equal(
        found.confusion, metrics.confusion_matrix(truth, answers, labels=range(8))
    )
    recalls = metrics.recall_score(truth, answers, average=None, labels=range(7))
    assert [c.value for c in found.classes] == pytest.approx(recalls)
    assert [c.n for c in found.classes] == np.bincount(truth).tolist()
    worst = min(found.classes, key=lambda c: c.value)
    row = found.confusion[NAMES.index(worst.name)]
    assert row[NAMES.index(worst.confused_with)] == np.delete(row, NAMES.index(worst.name)).max()
    for score in found.scores:
        assert score.low <= score.value <= score.high
        assert (score.n, score.modality) == (80, "image")
    assert [s.chance for s in found.scores] == [1 / 8, 5 / 8, 1 / 8]


def test_an_answer_that_ties_is_shared() -> None:
    scores = np.array([[1.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
    confusion = confusion_of(scores, np.array([0, 2]))
    np.testing.assert_allclose(confusion, [[0.5, 0.5, 0], [0, 0, 0], [1 / 3, 1 / 3, 1 / 3]])
    found = classified(scores, [(0,), (2,)], ("x", "y", "z"), **ABOUT)
    assert found.scores[0].value == pytest.approx((0.5 + 1 / 3) / 2)


def test_several_labels_are_scored_by_average_precision() -> None:
    rng = np.random.default_rng(1)
    labels = [(0, 2), (1,), (2,), (0,), (1, 2)]
    scores = rng.normal(size=(5, 4))
    found = classified(scores, labels, ("x", "y", "z", "none"), **ABOUT)
    truth = np.array([[i in own for i in range(4)] for own in labels])
    want = metrics.average_precision_score(truth[:, :3], scores[:, :3], average="macro")
    [score] = found.scores
    assert (score.metric, score.value) == ("mAP", pytest.approx(want))
    assert score.low <= score.value <= score.high
    assert score.chance == pytest.approx(truth[:, :3].mean())
    assert [c.name for c in found.classes] == ["x", "y", "z"]
    assert found.confusion is None
    constant = classified(np.zeros((5, 4)), labels, ("x", "y", "z", "none"), **ABOUT)
    assert constant.scores[0].value == pytest.approx(score.chance)
