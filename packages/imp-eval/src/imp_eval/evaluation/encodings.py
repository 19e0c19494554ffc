"""Encodings: a benchmark's parts and texts, each embedded once, whatever the tasks that ask."""

import dataclasses
import pathlib
from collections.abc import Callable, Sequence

import numpy as np

from imp_data.tokenizer import Tokenizer
from imp_eval.evaluation.benchmark import Benchmark, Part
from imp_eval.evaluation.examples import Texts
from imp_eval.evaluation.features import Features, extract
from imp_eval.evaluation.pooling import PooledEncoder

Labels = tuple[int, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Encodings:
    """Of one bundle. `advance` hears of examples as they are done."""

    encoder: PooledEncoder
    tokenizer: Tokenizer | None
    cache: pathlib.Path | None = None
    max_reject_share: float = 0.05
    advance: Callable[[int], object] = lambda done: None
    _held: dict[tuple[Part, str], Features] = dataclasses.field(default_factory=dict, repr=False)

    def features(self, benchmark: Benchmark, part: Part, modality: str) -> Features:
        """Raises ValueError where more than `max_reject_share` of the inputs are no use, or all."""
        if (found := self._held.get((part, modality))) is None:
            found = extract(
                self.encoder,
                modality,
                part.examples,
                num_clips=benchmark.num_clips if modality == "video" else 1,
                cache=self.cache,
                advance=self.advance,
            )
            self._held[part, modality] = found
            self._check(benchmark, part, found)
        return found

    def _check(self, benchmark: Benchmark, part: Part, features: Features) -> None:
        count, total = len(features.problems), len(part)
        if count and (count == total or count > self.max_reject_share * total):
            first = next(iter(features.problems))
            raise ValueError(
                f"{benchmark.spec}: {part.examples.id(first)}: {features.problems[first]} "
                f"({count} of {total} inputs are no use; mend them, or allow more with "
                "--max-reject-share)"
            )

    def labelled(
        self, benchmark: Benchmark, part: Part, modality: str
    ) -> tuple[Features, np.ndarray, list[Labels]]:
        """The features, which of the usable examples have a label (their places among these), and
        the labels."""
        features = self.features(benchmark, part, modality)
        labels = [part.labels[i] for i in features.usable.tolist()]
        kept = np.array([place for place, own in enumerate(labels) if own], np.int64)
        return features, kept, [labels[place] for place in kept.tolist()]

    def texts(self, texts: Sequence[str], target: str) -> np.ndarray:
        """float32 [n, k], to be compared with embeddings of `target`. Raises ValueError for a text
        that is none."""
        if self.tokenizer is None:
            raise ValueError("the bundle has no tokenizer; export it again")
        features = extract(
            self.encoder, "text", Texts(texts, self.tokenizer), cache=self.cache, num_threads=1
        )
        for index, reason in features.problems.items():
            raise ValueError(f"text {texts[index]!r:.80}: {reason}")
        return features.embeddings(self.encoder, ("text", target))

    def forget(self) -> None:
        """Lets go of all features: a training split's may be large."""
        self._held.clear()

    def problems(self, benchmark: Benchmark) -> list[tuple[str, str]]:
        """Ids and reasons of all that was no use, listed or decoded."""
        found = list(benchmark.problems)
        for part in (benchmark.test, benchmark.train, benchmark.val):
            if part is None:
                continue
            for modality in benchmark.modalities:
                features = self._held.get((part, modality))
                problems = {} if features is None else features.problems
                found += [(part.examples.id(i), reason) for i, reason in problems.items()]
        return found
