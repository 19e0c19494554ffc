"""The protocols: how a benchmark's examples, classes and texts become scores of a bundle.

Legend: n examples, q queries, y classes, d width, k numbers in an embedding.
"""

import collections
import dataclasses
import functools
import pathlib
from collections.abc import Callable, Sequence

import numpy as np
import scipy.sparse

from imp_data.tokenizer import Tokenizer
from imp_eval import prompts, retrieval, zero_shot
from imp_eval.evaluation import linear_probe, neighbours
from imp_eval.evaluation.benchmark import Benchmark, Part
from imp_eval.evaluation.classification import classified
from imp_eval.evaluation.examples import Texts
from imp_eval.evaluation.features import Features, extract
from imp_eval.evaluation.intervals import Bootstrap
from imp_eval.evaluation.pooling import PooledEncoder
from imp_eval.evaluation.results import Score, TaskResult

ZERO_SHOT, RETRIEVAL, PROBE, NEIGHBOURS = "zero-shot", "retrieval", "linear-probe", "knn"
TASKS = (ZERO_SHOT, RETRIEVAL, PROBE, NEIGHBOURS)
_RECALLS = (1, 5, 10)
# Queries scored at a time: their scores of all items are held.
_BLOCK = 512
# Of the training part, where a benchmark has no validation split.
_VALIDATION_SHARE = 0.2


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scorer:
    """Runs tasks of one bundle. `advance` hears of examples as they are embedded."""

    encoder: PooledEncoder
    tokenizer: Tokenizer | None
    bootstrap: Bootstrap
    cache: pathlib.Path | None = None
    max_reject_share: float = 0.05
    advance: Callable[[int], object] = lambda done: None
    _held: dict[tuple[int, str], Features] = dataclasses.field(default_factory=dict, repr=False)

    def possible(self, benchmark: Benchmark, task: str) -> str | None:
        """None, or why the task can't be run on the benchmark with this bundle."""
        if task == RETRIEVAL:
            if not self._directions(benchmark):
                return "neither captions nor another modality that the bundle compares with"
            return None
        if not any(benchmark.test.labels):
            return "no labels"
        if task == ZERO_SHOT:
            without = [m for m in benchmark.modalities if (m, "text") not in self.encoder.pairs]
            return f"the bundle does not compare {without[0]} with text" if without else None
        if benchmark.test.multi_label:
            return "examples of several labels"
        if benchmark.train is None and len(set(benchmark.test.folds.tolist())) < 2:
            return "no split to train on; name one with train="
        return None

    def run(self, benchmark: Benchmark, task: str) -> list[TaskResult]:
        """The results of each modality or direction of a task that is `possible`.

        Raises ValueError where more than `max_reject_share` of the inputs are no use.
        """
        if task == RETRIEVAL:
            return [self._retrieval(benchmark, a, b) for a, b in self._directions(benchmark)]
        run = {ZERO_SHOT: self._zero_shot, PROBE: self._probe, NEIGHBOURS: self._neighbours}[task]
        return [run(benchmark, modality) for modality in benchmark.modalities]

    def work(self, benchmark: Benchmark, tasks: Sequence[str]) -> int:
        """How many examples will be embedded, texts left aside."""
        trained = PROBE in tasks or NEIGHBOURS in tasks
        parts = [benchmark.test, *((benchmark.train, benchmark.val) if trained else ())]
        return len(benchmark.modalities) * sum(len(part) for part in parts if part is not None)

    def problems(self, benchmark: Benchmark) -> list[tuple[str, str]]:
        """Ids and reasons of all that was no use, listed or decoded."""
        found = list(benchmark.problems)
        for part in (benchmark.test, benchmark.train, benchmark.val):
            for modality in benchmark.modalities if part is not None else ():
                if (features := self._held.get((id(part), modality))) is not None:
                    assert part is not None
                    found += [(part.examples.id(i), why) for i, why in features.problems.items()]
        return found

    def _features(self, benchmark: Benchmark, part: Part, modality: str) -> Features:
        """Of a part in one modality, embedded once."""
        if (found := self._held.get((id(part), modality))) is None:
            found = extract(
                self.encoder,
                modality,
                part.examples,
                num_clips=benchmark.num_clips if modality == "video" else 1,
                cache=self.cache,
                advance=self.advance,
            )
            self._held[id(part), modality] = found
            self._check(benchmark, part, found)
        return found

    def _check(self, benchmark: Benchmark, part: Part, features: Features) -> None:
        count, total = len(features.problems), len(part)
        if not len(features.usable) or count > self.max_reject_share * total:
            first = next(iter(features.problems), None)
            if first is None:
                raise ValueError(f"{benchmark.spec}: the split that is scored is empty")
            raise ValueError(
                f"{benchmark.spec}: {part.examples.id(first)}: {features.problems[first]} "
                f"({count} of {total} inputs are no use; mend them, or allow more with "
                "--max-reject-share)"
            )

    def _texts(self, texts: Sequence[str], target: str) -> np.ndarray:
        """float32 [n, k], to be compared with embeddings of `target`."""
        if self.tokenizer is None:
            raise ValueError("the bundle has no tokenizer; export it again")
        features = extract(
            self.encoder, "text", Texts(texts, self.tokenizer), cache=self.cache, num_threads=1
        )
        for index, reason in features.problems.items():
            raise ValueError(f"text {texts[index]!r:.80}: {reason}")
        return features.embeddings(self.encoder, ("text", target))

    def _labelled(self, part: Part, features: Features) -> tuple[np.ndarray, list[tuple[int, ...]]]:
        """Which of the usable examples have a label: places among them, and the labels."""
        labels = [part.labels[i] for i in features.usable.tolist()]
        kept = np.array([place for place, own in enumerate(labels) if own], np.int64)
        return kept, [labels[place] for place in kept.tolist()]

    # --- classification ---

    def _zero_shot(self, benchmark: Benchmark, modality: str) -> TaskResult:
        features = self._features(benchmark, benchmark.test, modality)
        kept, labels = self._labelled(benchmark.test, features)
        templates = benchmark.templates[modality]
        filled = prompts.fill(templates, benchmark.class_names)
        flat = self._texts([text for own in filled for text in own], modality)
        classes = zero_shot.class_embeddings(flat.reshape(len(filled), len(templates), -1))
        embeddings = features.embeddings(self.encoder, (modality, "text"))[kept]
        return classified(
            embeddings @ classes.T,
            labels,
            benchmark.class_names,
            benchmark=benchmark.name,
            task=ZERO_SHOT,
            modality=modality,
            bootstrap=self.bootstrap,
            details={"templates": list(templates)},
        )

    def _probe(self, benchmark: Benchmark, modality: str) -> TaskResult:
        strengths: list[float] = []
        converged: list[bool] = []

        def score(
            train: np.ndarray, labels: np.ndarray, queries: np.ndarray, validation: np.ndarray
        ) -> np.ndarray:
            """`validation` bool [n] of the training examples."""
            found = linear_probe.probe(
                train[~validation],
                labels[~validation],
                train[validation],
                labels[validation],
                num_classes=len(benchmark.class_names),
            )
            strengths.append(found.chosen)
            converged.append(found.converged)
            return found.logits(queries)

        scores, labels = self._trained(benchmark, modality, score)
        details: dict[str, object] = {"c": strengths, "converged": converged}
        return self._classified(benchmark, modality, PROBE, scores, labels, details)

    def _neighbours(self, benchmark: Benchmark, modality: str) -> TaskResult:
        def score(
            train: np.ndarray, labels: np.ndarray, queries: np.ndarray, validation: np.ndarray
        ) -> np.ndarray:
            return neighbours.votes(train, labels, queries, num_classes=len(benchmark.class_names))

        scores, labels = self._trained(benchmark, modality, score)
        details: dict[str, object] = {"k": neighbours.K, "temperature": neighbours.TEMPERATURE}
        return self._classified(benchmark, modality, NEIGHBOURS, scores, labels, details)

    def _classified(
        self,
        benchmark: Benchmark,
        modality: str,
        task: str,
        scores: np.ndarray,
        labels: np.ndarray,
        details: dict[str, object],
    ) -> TaskResult:
        return classified(
            scores,
            [(label,) for label in labels.tolist()],
            benchmark.class_names,
            benchmark=benchmark.name,
            task=task,
            modality=modality,
            bootstrap=self.bootstrap,
            details=details,
        )

    def _trained(
        self,
        benchmark: Benchmark,
        modality: str,
        score: Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray], np.ndarray],
    ) -> tuple[np.ndarray, np.ndarray]:
        """Scores [n, y] and labels [n] of the test part by what `score` learns of the training
        part; without one, of each fold by what it learns of the others."""
        test, labels, folds = self._supervised(benchmark, benchmark.test, modality)
        if benchmark.train is not None:
            train, train_labels, _ = self._supervised(benchmark, benchmark.train, modality)
            held_out = held_out_of(train_labels, self.bootstrap.seed)
            if benchmark.val is not None:
                val, val_labels, _ = self._supervised(benchmark, benchmark.val, modality)
                held_out = np.arange(len(train) + len(val)) >= len(train)
                train = np.concatenate([train, val])
                train_labels = np.concatenate([train_labels, val_labels])
            return score(train, train_labels, test, held_out), labels
        scores = np.zeros((len(test), len(benchmark.class_names)), np.float32)
        for fold in np.unique(folds).tolist():
            own = folds == fold
            held_out = held_out_of(labels[~own], self.bootstrap.seed)
            scores[own] = score(test[~own], labels[~own], test[own], held_out)
        return scores, labels

    def _supervised(
        self, benchmark: Benchmark, part: Part, modality: str
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Features [n, d], labels [n] and folds [n] of the examples with one label."""
        features = self._features(benchmark, part, modality)
        kept, labels = self._labelled(part, features)
        single = np.array([len(own) == 1 for own in labels], bool)
        if not single.all():
            raise ValueError(f"{benchmark.spec}: a linear probe takes examples of one label each")
        own = np.array([own[0] for own in labels], np.int64)
        return features.mean()[kept], own, part.folds[features.usable[kept]]

    # --- retrieval ---

    def _directions(self, benchmark: Benchmark) -> list[tuple[str, str]]:
        """(query, answers) of each search that the benchmark and the bundle allow."""
        pairs = self.encoder.pairs
        between = [
            (a, b) for a in benchmark.modalities for b in benchmark.modalities if (a, b) in pairs
        ]
        if not any(benchmark.test.texts):
            return between
        with_text = [m for m in benchmark.modalities if (m, "text") in pairs]
        return [p for m in with_text for p in (("text", m), (m, "text"))] + between

    def _retrieval(self, benchmark: Benchmark, query: str, answers: str) -> TaskResult:
        if "text" not in (query, answers):
            return self._between(benchmark, query, answers)
        modality = answers if query == "text" else query
        features = self._features(benchmark, benchmark.test, modality)
        held = (benchmark.test.texts[i] for i in features.usable.tolist())
        texts = [[text for text in own if text.strip()][: benchmark.max_texts] for own in held]
        kept = np.array([place for place, own in enumerate(texts) if own], np.int64)
        captions = [texts[place] for place in kept.tolist()]
        words, links = pairs_of(captions, by_pair=benchmark.by_pair)
        items = features.embeddings(self.encoder, (modality, "text"))[kept]
        written = self._texts(words, modality)
        if query == "text":
            owners = links.indices[links.indptr[:-1]] if benchmark.by_pair else None
            return self._searched(benchmark, query, answers, written, items, links, owners)
        return self._searched(benchmark, query, answers, items, written, links.T.tocsr(), None)

    def _between(self, benchmark: Benchmark, query: str, answers: str) -> TaskResult:
        """One modality of an example finds another of the same example."""
        own = {m: self._features(benchmark, benchmark.test, m) for m in (query, answers)}
        both = np.intersect1d(own[query].usable, own[answers].usable)
        found = [
            features.embeddings(self.encoder, pair)[np.searchsorted(features.usable, both)]
            for features, pair in ((own[query], (query, answers)), (own[answers], (answers, query)))
        ]
        links = scipy.sparse.eye_array(len(both), dtype=bool, format="csr")
        return self._searched(benchmark, query, answers, found[0], found[1], links, None)

    def _searched(
        self,
        benchmark: Benchmark,
        query: str,
        answers: str,
        queries: np.ndarray,
        items: np.ndarray,
        links: scipy.sparse.csr_array,
        groups: np.ndarray | None,
    ) -> TaskResult:
        """float32 [q, k] and [n, k]; `links` bool [q, n] are the right answers; queries of one of
        `groups` are drawn together by the bootstrap."""
        blocks = [
            retrieval.Queries.of(
                queries[start : start + _BLOCK] @ items.T,
                links[start : start + _BLOCK].toarray(),
                ks=_RECALLS,
            )
            for start in range(0, len(queries), _BLOCK)
        ]
        found = retrieval.Queries.joined(blocks)
        whole = found.scores()
        modality = f"{query}→{answers}"
        make = functools.partial(
            Score.of, benchmark=benchmark.name, task=RETRIEVAL, modality=modality, n=len(queries)
        )
        scores = [
            make(
                whole.recall[k],
                self.bootstrap.mean(found.recall[k], groups),
                metric=f"R@{k}",
                chance=whole.chance_recall[k],
            )
            for k in _RECALLS
        ]
        scores.append(
            make(
                whole.median_rank,
                self.bootstrap.median(found.first_rank, groups),
                metric="median-rank",
                chance=whole.chance_median_rank,
            )
        )
        return TaskResult(
            benchmark=benchmark.name,
            task=RETRIEVAL,
            modality=modality,
            scores=tuple(scores),
            details={"items": len(items), "right": "pair" if benchmark.by_pair else "equal words"},
        )


def pairs_of(
    captions: Sequence[Sequence[str]], *, by_pair: bool
) -> tuple[list[str], scipy.sparse.csr_array]:
    """The texts to search by, and bool [texts, items]: which items each is of.

    `by_pair`: every caption is a text of its own; else equal captions are one, of several items.
    """
    numbers: dict[object, int] = {}
    words: list[str] = []
    rows: list[int] = []
    columns: list[int] = []
    for item, own in enumerate(captions):
        for place, text in enumerate(own):
            key = (item, place) if by_pair else text
            if key not in numbers:
                numbers[key] = len(words)
                words.append(text)
            rows.append(numbers[key])
            columns.append(item)
    # An item may have a caption twice.
    links = collections.Counter(zip(rows, columns, strict=True))
    places = np.array(sorted(links), np.int64).reshape(-1, 2)
    shape = (len(words), len(captions))
    ones = np.ones(len(places), bool)
    return words, scipy.sparse.csr_array((ones, (places[:, 0], places[:, 1])), shape=shape)


def held_out_of(labels: np.ndarray, seed: int) -> np.ndarray:
    """A fifth of each class that has two examples or more, drawn by the seed: bool [n]."""
    rng = np.random.default_rng(seed)
    chosen = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        own = rng.permutation(np.flatnonzero(labels == label))
        count = max(1, round(_VALIDATION_SHARE * len(own))) if len(own) > 1 else 0
        chosen[own[:count]] = True
    if len(labels) and not chosen.any():
        raise ValueError("a linear probe needs a class with two training examples or more")
    return chosen
