"""Engine: inputs to embeddings and class probabilities, for all the services, by one model."""

import asyncio
import collections
import dataclasses
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence

import numpy as np

from imp_data.media.text import clean
from imp_eval import prompts, zero_shot
from imp_eval.batcher import Batcher
from imp_eval.decoding import Decoders
from imp_eval.fields import FieldError, check_count
from imp_eval.inference import Encoder, Pair
from imp_eval.metrics import Metrics
from imp_eval.preprocess import SERVICE_LIMITS, Preprocessor

# Characters that are tokenized at once; more are, in a thread.
_TOKENIZED_AT_ONCE = 4_000


@dataclasses.dataclass(frozen=True, kw_only=True)
class RequestLimits:
    """What one request may hold."""

    max_items: int = 256
    max_message_bytes: int = SERVICE_LIMITS.max_bytes
    max_classes: int = 2_000
    max_prompts: int = 20_000
    max_k: int = 1_000

    def check_count(self, count: int, what: str, maximum: int) -> None:
        """Raises ValueError unless 1 <= count <= maximum."""
        check_count(what.replace(" ", "_"), count, what, maximum)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Query:
    """One input: `content` is an encoded file's bytes, or a str for text."""

    modality: str
    content: bytes | str
    target: str


# A prepared array -> what the encoder makes of it.
_Run = Callable[[np.ndarray], Awaitable[np.ndarray]]


class Engine:
    """`embed` and `classify`; errors of single items are returned in their place as ValueErrors."""

    def __init__(
        self,
        encoder: Encoder,
        preprocessor: Preprocessor,
        batcher: Batcher,
        *,
        decoders: Decoders,
        limits: RequestLimits,
        metrics: Metrics,
        max_classifiers: int = 32,
    ) -> None:
        self.encoder = encoder
        self.limits = limits
        self._preprocessor = preprocessor
        self._batcher = batcher
        self._decoders = decoders
        self._metrics = metrics
        self._classifiers: collections.OrderedDict[object, asyncio.Task[np.ndarray]] = (
            collections.OrderedDict()
        )
        self._max_classifiers = max_classifiers

    def pair(self, source: str, target: str) -> Pair:
        """The pair of heads to use; an empty target means the only one there is.

        Raises ValueError naming the targets there are.
        """
        targets = self.encoder.targets(source)
        if not target and len(targets) == 1:
            return source, targets[0]
        if target not in targets:
            known = f"one of {', '.join(targets)}" if targets else "there is none in this model"
            given = f"target {target!r} of {source} is unknown" if target else "no target"
            raise ValueError(f"{given}; say what to compare the {source} with: {known}")
        return source, target

    async def embed(
        self, queries: Sequence[Query], *, deadline: float | None = None, wait: bool = False
    ) -> list[np.ndarray | ValueError]:
        """float32 [k] each, or what is wrong with that one. `deadline` on the event loop's clock.

        Raises OverloadedError, or with `wait` waits for room; TimeoutError, ComputeError for the
        request as a whole.
        """

        def runs(query: Query) -> _Run:
            pair = self.pair(query.modality, query.target)
            return lambda array: self._batcher.embed(array, pair, deadline=deadline)

        return await self._each(queries, runs, deadline, wait)

    async def classify_by(
        self, queries: Sequence[Query], classifier: str, *, deadline: float | None = None
    ) -> list[np.ndarray | ValueError]:
        """The bundle's own classifier: probabilities float32 [y] each, or what is wrong with that
        one. Raises FieldError for a classifier that isn't there, and what `embed` raises."""
        labels = self.encoder.classifiers
        if classifier not in labels:
            known = ", ".join(sorted(labels)) or "none; give class names"
            raise FieldError(
                "classifier", f"no classifier {classifier[:80]!r} in this model; it has {known}"
            )

        def runs(query: Query) -> _Run:
            return lambda array: self._batcher.classify(
                array, query.modality, classifier, deadline=deadline
            )

        logits = await self._each(queries, runs, deadline, False)
        return [
            row if isinstance(row, ValueError) else zero_shot.probabilities(row[None], 1.0)[0]
            for row in logits
        ]

    async def classify(
        self,
        queries: Sequence[Query],
        class_names: Sequence[str],
        templates: Sequence[str],
        *,
        deadline: float | None = None,
    ) -> list[np.ndarray | ValueError]:
        """Probabilities float32 [y] each, or what is wrong with that one.

        The queries' targets must be "text". Raises ValueError for bad class names or templates, and
        what `embed` raises.
        """
        names = self._class_names(class_names)
        embeddings = await self.embed(queries, deadline=deadline)
        results: list[np.ndarray | ValueError] = []
        for query, embedding in zip(queries, embeddings, strict=True):
            if isinstance(embedding, ValueError):
                results.append(embedding)
                continue
            classes = await self._classifier(query.modality, names, tuple(templates))
            scale = self.encoder.logit_scale((query.modality, "text"))
            results.append(zero_shot.probabilities((classes @ embedding)[None], scale)[0])
        return results

    def _class_names(self, class_names: Sequence[str]) -> tuple[str, ...]:
        names: list[str] = []
        for place, name in enumerate(class_names):
            try:
                names.append(clean(name))
            except ValueError as error:
                field = f"class_names[{place}]"
                raise FieldError(field, f"class name {place}: {error}") from error
        if len(set(names)) < len(names):
            twice = next(name for name, n in collections.Counter(names).items() if n > 1)
            place = len(names) - 1 - names[::-1].index(twice)
            message = f"class name {twice[:80]!r} occurs more than once"
            raise FieldError(f"class_names[{place}]", message)
        return tuple(names)

    async def _classifier(
        self, modality: str, names: tuple[str, ...], templates: tuple[str, ...]
    ) -> np.ndarray:
        """float32 [y, k], made once however many callers wait for it."""
        key = (modality, names, templates)
        if key not in self._classifiers:
            try:
                filled = prompts.fill(templates or prompts.TEMPLATES[modality], names)
            except ValueError as error:
                raise FieldError("templates", str(error)) from error
            self.limits.check_count(
                len(filled) * len(filled[0]), "prompts", self.limits.max_prompts
            )
            task = asyncio.create_task(self._build_classifier(modality, filled))
            task.add_done_callback(lambda task: self._forget_failed(key, task))
            self._classifiers[key] = task
            while len(self._classifiers) > self._max_classifiers:
                self._classifiers.popitem(last=False)
        self._classifiers.move_to_end(key)
        # Shielded: a caller who leaves must not take it from the others.
        return await asyncio.shield(self._classifiers[key])

    async def _build_classifier(self, modality: str, filled: list[list[str]]) -> np.ndarray:
        texts = [text for texts in filled for text in texts]
        rows: list[np.ndarray] = []
        for start in range(0, len(texts), self.encoder.batch_size):
            chunk = texts[start : start + self.encoder.batch_size]
            results = await self.embed(
                [Query(modality="text", content=text, target=modality) for text in chunk]
            )
            for text, result in zip(chunk, results, strict=True):
                if isinstance(result, ValueError):
                    raise ValueError(f"prompt {text[:80]!r}: {result}")
                rows.append(result)
        return zero_shot.class_embeddings(np.stack(rows).reshape(len(filled), len(filled[0]), -1))

    def _forget_failed(self, key: object, task: asyncio.Task[np.ndarray]) -> None:
        failed = task.cancelled() or task.exception() is not None
        if failed and self._classifiers.get(key) is task:
            del self._classifiers[key]

    async def close(self) -> None:
        """Answers what is queued; nothing may come after."""
        await self._batcher.close()

    @property
    def pending(self) -> Mapping[str, int]:
        """Items accepted and not yet answered, by modality."""
        return self._batcher.pending

    async def _each(
        self,
        queries: Sequence[Query],
        runs: Callable[[Query], _Run],
        deadline: float | None,
        wait: bool,
    ) -> list[np.ndarray | ValueError]:
        counts = collections.Counter(query.modality for query in queries)
        room = await self._batcher.room(counts) if wait else self._batcher.admit(counts)
        with room:
            texts = [query.content for query in queries if isinstance(query.content, str)]
            tokens = iter(await self._tokens(texts))
            each = [
                self._one(
                    query, runs, next(tokens) if isinstance(query.content, str) else None, deadline
                )
                for query in queries
            ]
            # Most calls hold one item, which needs no task of its own.
            if len(each) == 1:
                return [await each[0]]
            # All of them end before their room is given back.
            results = await asyncio.gather(*each, return_exceptions=True)
        found: list[np.ndarray | ValueError] = []
        for result in results:
            if isinstance(result, BaseException) and not isinstance(result, ValueError):
                raise result
            found.append(result)
        return found

    async def _one(
        self,
        query: Query,
        runs: Callable[[Query], _Run],
        tokens: np.ndarray | ValueError | None,
        deadline: float | None,
    ) -> np.ndarray | ValueError:
        outcome = "failed"
        try:
            view = self._preprocessor.view(query.modality)
            run = runs(query)
            if isinstance(tokens, ValueError):
                raise tokens
            if tokens is None:
                assert isinstance(query.content, bytes)
                tokens = await self._decoders.decode(view, query.content, deadline=deadline)
            result = await run(tokens)
            outcome = "good"
            return result
        except ValueError as error:
            outcome = "bad"
            return error
        finally:
            self._metrics.item(query.modality, outcome)

    async def _tokens(self, texts: Sequence[str]) -> list[np.ndarray | ValueError]:
        if not texts:
            return []
        try:
            self._preprocessor.view("text")
        except ValueError as error:
            return [error] * len(texts)
        began = time.monotonic()
        if sum(map(len, texts)) <= _TOKENIZED_AT_ONCE:
            tokens = self._preprocessor.texts(texts)
        else:
            tokens = await asyncio.to_thread(self._preprocessor.texts, texts)
        each = (time.monotonic() - began) / len(texts)
        for _ in texts:
            self._metrics.stage("tokenize", "text", each)
        return tokens
