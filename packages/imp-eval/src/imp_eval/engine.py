"""Engine: inputs to embeddings and zero-shot classifiers, for all the services of one server."""

import asyncio
import collections
import concurrent.futures
import dataclasses
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

from imp_data.media.text import clean
from imp_eval import prompts, zero_shot
from imp_eval.batcher import Batcher
from imp_eval.inference import Encoder, Pair
from imp_eval.preprocess import SERVICE_LIMITS, Preprocessor

T = TypeVar("T")


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
        if count < 1:
            raise ValueError(f"the request holds no {what}; give at least one")
        if count > maximum:
            raise ValueError(f"{count} {what} are over the limit of {maximum}; send fewer")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Query:
    """One input: `content` is an encoded file's bytes, or a str for text."""

    modality: str
    content: bytes | str
    target: str


class Engine:
    """`embed` and `classify`; errors of single items are returned in their place as ValueErrors."""

    def __init__(
        self,
        encoder: Encoder,
        preprocessor: Preprocessor,
        batcher: Batcher,
        *,
        decoders: concurrent.futures.Executor,
        limits: RequestLimits,
        max_classifiers: int = 32,
    ) -> None:
        self.encoder = encoder
        self.limits = limits
        self._preprocessor = preprocessor
        self._batcher = batcher
        self._decoders = decoders
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
        self, queries: Sequence[Query], *, deadline: float | None = None
    ) -> list[np.ndarray | ValueError]:
        """float32 [k] each, or what is wrong with that one. `deadline` on the event loop's clock.

        Raises OverloadedError, TimeoutError, ComputeError for the request as a whole.
        """
        with self._batcher.admit(len(queries)):
            texts = [q.content for q in queries if isinstance(q.content, str)]
            known = texts and "text" in self.encoder.views
            tokens = self._spawn(self._preprocessor.texts, texts) if known else None
            place = iter(range(len(texts)))
            results = await asyncio.gather(
                *(
                    self._embed_text(q, tokens, next(place), deadline)
                    if isinstance(q.content, str)
                    else self._embed_media(q, deadline)
                    for q in queries
                ),
                return_exceptions=True,
            )
        for result in results:
            if isinstance(result, BaseException) and not isinstance(result, ValueError):
                raise result
        return results  # type: ignore[return-value]

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
                raise ValueError(f"class name {place}: {error}") from error
        if len(set(names)) < len(names):
            twice = next(name for name, n in collections.Counter(names).items() if n > 1)
            raise ValueError(f"class name {twice[:80]!r} occurs more than once")
        return tuple(names)

    async def _classifier(
        self, modality: str, names: tuple[str, ...], templates: tuple[str, ...]
    ) -> np.ndarray:
        """float32 [y, k], made once however many callers wait for it."""
        key = (modality, names, templates)
        if key not in self._classifiers:
            filled = prompts.fill(templates or prompts.TEMPLATES[modality], names)
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

    async def _embed_text(
        self,
        query: Query,
        tokens: asyncio.Future[list[np.ndarray | ValueError]] | None,
        place: int,
        deadline: float | None,
    ) -> np.ndarray:
        pair = self.pair("text", query.target)
        assert tokens is not None
        array = (await tokens)[place]
        if isinstance(array, ValueError):
            raise array
        return await self._batcher.embed(array, pair, deadline=deadline)

    async def _embed_media(self, query: Query, deadline: float | None) -> np.ndarray:
        pair = self.pair(query.modality, query.target)
        array = await self._spawn(self._preprocessor.media, query.modality, query.content)
        return await self._batcher.embed(array, pair, deadline=deadline)

    def _spawn(self, function: Callable[..., T], *arguments: object) -> asyncio.Future[T]:
        return asyncio.get_running_loop().run_in_executor(self._decoders, function, *arguments)
