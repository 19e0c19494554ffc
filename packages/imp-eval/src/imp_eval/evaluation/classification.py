"""Scores of examples by classes -> figures, whichever way the scores came about.

Legend: n examples, y classes.
"""

from collections.abc import Sequence

import numpy as np

from imp_eval import zero_shot
from imp_eval.evaluation.average_precision import average_precision, resampled_mean
from imp_eval.evaluation.intervals import Bootstrap
from imp_eval.evaluation.results import ClassScore, Score, TaskResult


def classified(
    scores: np.ndarray,
    labels: Sequence[tuple[int, ...]],
    class_names: Sequence[str],
    *,
    benchmark: str,
    task: str,
    modality: str,
    bootstrap: Bootstrap,
    details: dict[str, object] | None = None,
) -> TaskResult:
    """float [n, y], higher is better, and each example's labels, at least one.

    Accuracies where every example has one label; mean average precision where some have several.
    """
    names = tuple(class_names)
    about = {"benchmark": benchmark, "task": task, "modality": modality}
    if any(len(own) > 1 for own in labels):
        figures, classes, confusion = _precisions(scores, labels, names, about, bootstrap)
    else:
        truth = np.array([own[0] for own in labels], np.int64)
        figures, classes, confusion = _accuracies(scores, truth, names, about, bootstrap)
    return TaskResult(
        benchmark=benchmark,
        task=task,
        modality=modality,
        scores=tuple(figures),
        classes=tuple(classes),
        class_names=names,
        confusion=confusion,
        details=details or {},
    )


def _accuracies(
    scores: np.ndarray,
    truth: np.ndarray,
    names: tuple[str, ...],
    about: dict[str, str],
    bootstrap: Bootstrap,
) -> tuple[list[Score], list[ClassScore], np.ndarray | None]:
    whole = zero_shot.score(scores, truth)
    first, fifth = (zero_shot.top_k(scores, truth, k) for k in (1, 5))
    n = len(truth)
    figures = [
        Score.of(
            whole.top_1,
            bootstrap.mean(first),
            metric="top-1",
            chance=whole.chance_top_1,
            n=n,
            **about,
        ),
        Score.of(
            whole.top_5,
            bootstrap.mean(fifth),
            metric="top-5",
            chance=whole.chance_top_5,
            n=n,
            **about,
        ),
        Score.of(
            whole.mean_per_class,
            bootstrap.mean_per_class(first, truth),
            metric="mean-per-class",
            chance=whole.chance_top_1,
            n=n,
            **about,
        ),
    ]
    confusion = confusion_of(scores, truth)
    classes = []
    for number in np.unique(truth).tolist():
        row = confusion[number].copy()
        count, right = row.sum(), row[number]
        row[number] = 0
        wrong = names[int(row.argmax())] if row.max() > 0 else ""
        classes.append(
            ClassScore(name=names[number], n=round(count), value=right / count, confused_with=wrong)
        )
    return figures, classes, confusion


def confusion_of(scores: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Truth by answer, float [y, y]; an example whose best classes tie is shared between them."""
    best = scores == scores.max(axis=1, keepdims=True)
    confusion = np.zeros((scores.shape[1], scores.shape[1]))
    np.add.at(confusion, truth, best / best.sum(axis=1, keepdims=True))
    return confusion


def _precisions(
    scores: np.ndarray,
    labels: Sequence[tuple[int, ...]],
    names: tuple[str, ...],
    about: dict[str, str],
    bootstrap: Bootstrap,
) -> tuple[list[Score], list[ClassScore], np.ndarray | None]:
    relevant = np.zeros(scores.shape, bool)
    for row, own in zip(relevant, labels, strict=True):
        row[list(own)] = True
    found = average_precision(scores, relevant)
    held = np.flatnonzero(~np.isnan(found))
    interval = bootstrap.interval(len(scores), lambda w: resampled_mean(scores, relevant, w))
    figure = Score.of(
        found[held].mean(),
        interval,
        metric="mAP",
        chance=float(relevant[:, held].mean()),
        n=len(scores),
        **about,
    )
    classes = [
        ClassScore(name=names[i], n=int(relevant[:, i].sum()), value=float(found[i]))
        for i in held.tolist()
    ]
    return [figure], classes, None
