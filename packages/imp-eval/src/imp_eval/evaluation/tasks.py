"""Which tasks suit a benchmark and a bundle, and each one's results."""

import dataclasses
from collections.abc import Sequence

from imp_eval import prompts, zero_shot
from imp_eval.evaluation import search, supervised
from imp_eval.evaluation.benchmark import Benchmark
from imp_eval.evaluation.classification import classified
from imp_eval.evaluation.encodings import Encodings
from imp_eval.evaluation.intervals import Bootstrap
from imp_eval.evaluation.results import TaskResult
from imp_eval.evaluation.search import RETRIEVAL
from imp_eval.evaluation.supervised import NEIGHBOURS, PROBE

ZERO_SHOT = "zero-shot"
TASKS = (ZERO_SHOT, RETRIEVAL, PROBE, NEIGHBOURS)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scorer:
    """Runs tasks of one bundle."""

    encodings: Encodings
    bootstrap: Bootstrap

    def possible(self, benchmark: Benchmark, task: str) -> str | None:
        """None, or why the task can't be run on the benchmark with this bundle."""
        if task == RETRIEVAL:
            if not search.directions(self.encodings, benchmark):
                return "neither captions nor another modality that the bundle compares with"
            return None
        if not any(benchmark.test.labels):
            return "no labels"
        if task == ZERO_SHOT:
            several = " or ".join(benchmark.modalities)
            compared = self._with_text(benchmark)
            return None if compared else f"the bundle does not compare {several} with text"
        if benchmark.test.multi_label:
            return "examples of several labels"
        if benchmark.train is None and len(set(benchmark.test.folds.tolist())) < 2:
            return "no split to train on; name one with train="
        return None

    def run(self, benchmark: Benchmark, task: str) -> list[TaskResult]:
        """The results of each modality or direction of a task that is `possible`.

        Raises ValueError where too many inputs are no use.
        """
        encodings, bootstrap = self.encodings, self.bootstrap
        if task == RETRIEVAL:
            found = search.directions(encodings, benchmark)
            return [search.searched(encodings, benchmark, a, b, bootstrap) for a, b in found]
        if task == ZERO_SHOT:
            return [self._zero_shot(benchmark, m) for m in self._with_text(benchmark)]
        run = {PROBE: supervised.probed, NEIGHBOURS: supervised.voted}[task]
        return [run(encodings, benchmark, m, bootstrap) for m in benchmark.modalities]

    def work(self, benchmark: Benchmark, tasks: Sequence[str]) -> int:
        """How many examples will be embedded, texts left aside."""
        trained = PROBE in tasks or NEIGHBOURS in tasks
        parts = [benchmark.test, *((benchmark.train, benchmark.val) if trained else ())]
        return len(benchmark.modalities) * sum(len(part) for part in parts if part is not None)

    def _with_text(self, benchmark: Benchmark) -> list[str]:
        return [m for m in benchmark.modalities if (m, "text") in self.encodings.encoder.pairs]

    def _zero_shot(self, benchmark: Benchmark, modality: str) -> TaskResult:
        """Cosines with the mean of each class's prompts."""
        encodings = self.encodings
        features, kept, labels = encodings.labelled(benchmark, benchmark.test, modality)
        templates = benchmark.templates[modality]
        filled = prompts.fill(templates, benchmark.class_names)
        flat = encodings.texts([text for own in filled for text in own], modality)
        classes = zero_shot.class_embeddings(flat.reshape(len(filled), len(templates), -1))
        embeddings = features.embeddings(encodings.encoder, (modality, "text"))[kept]
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
