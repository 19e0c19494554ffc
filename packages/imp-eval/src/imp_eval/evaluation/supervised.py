"""What frozen features tell of the classes: linear probe and nearest neighbours.

Legend: n examples, y classes, d width.
"""

import dataclasses
from collections.abc import Callable

import numpy as np

from imp_eval.evaluation import linear_probe, neighbours
from imp_eval.evaluation.benchmark import Benchmark, Part
from imp_eval.evaluation.classification import classified
from imp_eval.evaluation.encodings import Encodings
from imp_eval.evaluation.intervals import Bootstrap
from imp_eval.evaluation.results import TaskResult

PROBE, NEIGHBOURS = "linear-probe", "knn"
# Of the training part, where a benchmark has no validation split.
_VALIDATION_SHARE = 0.2


@dataclasses.dataclass(frozen=True)
class _Supervised:
    """float32 [n, d], int [n] and int [n]; `validation` bool [n] are those to choose by."""

    features: np.ndarray
    labels: np.ndarray
    folds: np.ndarray
    validation: np.ndarray

    def of(self, rows: np.ndarray, seed: int) -> "_Supervised":
        """Some of them, as a training part."""
        labels = self.labels[rows]
        return _Supervised(self.features[rows], labels, self.folds[rows], held_out_of(labels, seed))


# A training part and the queries' features [n, d] -> scores [n, y].
_Method = Callable[[_Supervised, np.ndarray], np.ndarray]


def probed(
    encodings: Encodings, benchmark: Benchmark, modality: str, bootstrap: Bootstrap
) -> TaskResult:
    """`details` are each fit's strength, and whether it converged."""
    strengths: list[float] = []
    converged: list[bool] = []

    def score(train: _Supervised, queries: np.ndarray) -> np.ndarray:
        found = linear_probe.probe(
            train.features[~train.validation],
            train.labels[~train.validation],
            train.features[train.validation],
            train.labels[train.validation],
            num_classes=len(benchmark.class_names),
        )
        strengths.append(found.chosen)
        converged.append(found.converged)
        return found.logits(queries)

    details: dict[str, object] = {"c": strengths, "converged": converged}
    return _scored(encodings, benchmark, modality, bootstrap, PROBE, score, details)


def voted(
    encodings: Encodings, benchmark: Benchmark, modality: str, bootstrap: Bootstrap
) -> TaskResult:
    """By the nearest neighbours; the validation part votes too."""

    def score(train: _Supervised, queries: np.ndarray) -> np.ndarray:
        num_classes = len(benchmark.class_names)
        return neighbours.votes(train.features, train.labels, queries, num_classes=num_classes)

    details: dict[str, object] = {"k": neighbours.K, "temperature": neighbours.TEMPERATURE}
    return _scored(encodings, benchmark, modality, bootstrap, NEIGHBOURS, score, details)


def _scored(
    encodings: Encodings,
    benchmark: Benchmark,
    modality: str,
    bootstrap: Bootstrap,
    task: str,
    score: _Method,
    details: dict[str, object],
) -> TaskResult:
    test = _supervised(encodings, benchmark, benchmark.test, modality)
    if benchmark.train is not None:
        scores = score(_training(encodings, benchmark, modality, bootstrap.seed), test.features)
    else:
        scores = np.zeros((len(test.labels), len(benchmark.class_names)), np.float32)
        for fold in np.unique(test.folds).tolist():
            own = test.folds == fold
            scores[own] = score(test.of(~own, bootstrap.seed), test.features[own])
    return classified(
        scores,
        [(label,) for label in test.labels.tolist()],
        benchmark.class_names,
        benchmark=benchmark.name,
        task=task,
        modality=modality,
        bootstrap=bootstrap,
        details=details,
    )


def _training(encodings: Encodings, benchmark: Benchmark, modality: str, seed: int) -> _Supervised:
    """The training part, with the validation part if there is one, else a fifth set aside."""
    assert benchmark.train is not None
    train = _supervised(encodings, benchmark, benchmark.train, modality)
    if benchmark.val is None:
        return train.of(np.ones(len(train.labels), bool), seed)
    val = _supervised(encodings, benchmark, benchmark.val, modality)
    return _Supervised(
        np.concatenate([train.features, val.features]),
        np.concatenate([train.labels, val.labels]),
        np.concatenate([train.folds, val.folds]),
        np.arange(len(train.labels) + len(val.labels)) >= len(train.labels),
    )


def _supervised(
    encodings: Encodings, benchmark: Benchmark, part: Part, modality: str
) -> _Supervised:
    """The examples with a label; ValueError for one with several."""
    features, kept, labels = encodings.labelled(benchmark, part, modality)
    if any(len(own) > 1 for own in labels):
        raise ValueError(f"{benchmark.spec}: a probe takes examples of one label each")
    truth = np.array([own[0] for own in labels], np.int64)
    folds = part.folds[features.usable[kept]]
    return _Supervised(features.mean()[kept], truth, folds, np.zeros(len(truth), bool))


def held_out_of(labels: np.ndarray, seed: int) -> np.ndarray:
    """A fifth of each class that has two examples or more, drawn by the seed: bool [n].

    Raises ValueError where no class has two.
    """
    rng = np.random.default_rng(seed)
    chosen = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        own = rng.permutation(np.flatnonzero(labels == label))
        count = max(1, round(_VALIDATION_SHARE * len(own))) if len(own) > 1 else 0
        chosen[own[:count]] = True
    if not chosen.any():
        raise ValueError("a probe needs a class with two training examples or more")
    return chosen
