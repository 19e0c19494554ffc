"""Loader: a dataset on disk -> batches, in an order that can stop, resume and spread over hosts.

The batch of a step is a pure function of (dataset, seed, step): a position is a number. Hosts take
shards of one global batch, so their number may change between a stop and a resume; processes take
whole steps, so theirs changes nothing. Nothing is held for each example: what a loader costs to
open and to keep grows with the number of shards.
"""

import itertools
import types
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Literal, TypeAlias, TypeVar

import numpy as np

from imp_data import own_tokenizer, randomness
from imp_data.augment import Augment
from imp_data.batch import Batch
from imp_data.captions import Captions, TextsFrom, TokenCache
from imp_data.datasets import Dataset
from imp_data.order import HostOrder, Shuffle
from imp_data.prefetch import Prefetch
from imp_data.stores.examples import Example
from imp_data.stores.rows import Rows
from imp_data.tokenizer import Tokenizer
from imp_data.views import TextView, View
from imp_data.workers import Workers

J = TypeVar("J")
LabelsAs = Literal["index", "multi_hot"]
# Batches in order, made ahead until `close`.
Batches: TypeAlias = Prefetch[Batch] | Workers
# The order, the words and the augmentation draw from separate streams of one seed.
_ORDER, _WORDS, _AUGMENT = 1, 2, 3


class Loader:
    """Batches of one split. Iterating gives steps 0, 1, … for ever; `batches` starts anywhere."""

    def __init__(
        self,
        dataset: Dataset,
        *,
        split: str,
        views: Sequence[View],
        batch_size: int,
        seed: int,
        tokenizer: Tokenizer | None = None,
        augment: Augment | None = None,
        texts: TextsFrom = "caption",
        prompts: Sequence[str] = (),
        labels: LabelsAs = "index",
        shards: tuple[int, ...] = (0,),
        num_shards: int = 1,
        num_workers: int = 0,
        prefetch: int = 2,
    ) -> None:
        """`batch_size` counts all hosts' examples; this one's are the `shards` of its `num_shards`
        equal parts. At most one view a modality.

        `tokenizer` reads the words, by default the dataset's own; where it holds one, no other.
        `texts` says whether a TextView shows a caption or the label's name, `prompts` the phrases
        around it, such as "an icon of {}". `labels` says how Batch.labels come. `num_workers`
        processes make the batches of `batches`, each `prefetch` ahead; with 0 a thread does.
        Raises ValueError for a view that isn't stored, a missing split, text without a tokenizer,
        shards that don't divide the batch.
        """
        dataset.check_split(split)
        if num_workers < 0:
            raise ValueError(f"num_workers {num_workers} must be at least 0")
        if len({view.modality for view in views}) != len(views) or not views:
            keys = ", ".join(view.key for view in views)
            raise ValueError(f"views ({keys}) must be one a modality, and at least one")
        if labels not in ("index", "multi_hot"):
            raise ValueError(f'labels {labels!r} must be "index" or "multi_hot"')
        if labels == "multi_hot" and not dataset.label_names:
            raise ValueError(f"dataset {dataset.name} has no labels to give as {labels!r}")
        self.dataset = dataset
        self.split = split
        self.views = tuple(views)
        self.batch_size = batch_size
        self.seed = seed
        self.augment = augment
        self.num_examples = dataset.num_examples[split]
        self._labels_as = labels
        self._num_workers = num_workers
        self._prefetch = prefetch
        self._order = HostOrder(
            shuffle=Shuffle(num_examples=self.num_examples, seed=_stream(seed, _ORDER)),
            batch_size=batch_size,
            shards=shards,
            num_shards=num_shards,
        )
        self._examples = dataset.examples(split)
        self._rows: dict[View, Rows] = {}
        self._tokens: TokenCache | None = None
        for view in self.views:
            if isinstance(view, TextView):
                self._tokens = TokenCache(_tokenizer(dataset, tokenizer, view), view.length)
                self._captions = Captions.of(dataset, split, texts, prompts)
            else:
                _check_stored(dataset, view)
                self._rows[view] = Rows(dataset, split, view)
        self._open: weakref.WeakSet[Batches] = weakref.WeakSet()

    def batch(self, step: int) -> Batch:
        """This host's shards of the global batch at `step`, which is at least 0."""
        positions, index = self._order(step)
        examples = self._read_examples(index)
        words = named = None
        if self._tokens is not None:
            keys = randomness.keys(_stream(self.seed, _WORDS), positions)
            words = self._captions.draw(examples, keys)
            named = self._captions.labels(examples, keys)
        batch = self._gather(index, examples, words, named)
        if self.augment is not None:
            keys = randomness.keys(_stream(self.seed, _AUGMENT), positions)
            for modality, array in batch.inputs.items():
                batch.inputs[modality] = self.augment(modality, array, keys)
        return batch

    def batches(self, start: int = 0, stop: int | None = None) -> Batches:
        """Steps start, start + 1, … before `stop`, made ahead; `close()` when done."""
        steps = itertools.count(start) if stop is None else range(start, stop)
        batches = made_ahead(
            self.batch, steps, num_workers=self._num_workers, prefetch=self._prefetch
        )
        self._open.add(batches)
        return batches

    def __iter__(self) -> Iterator[Batch]:
        return iter(self.batches())

    def all(self, batch_size: int | None = None) -> Iterator[Batch]:
        """Every example once, in order, first captions, nothing augmented; the last may be short.

        Every host sees all of them.
        """
        size = batch_size or self.batch_size
        for start in range(0, self.num_examples, size):
            index = np.arange(start, min(start + size, self.num_examples))
            examples = self._read_examples(index)
            words = self._captions.first(examples) if self._tokens is not None else None
            yield self._gather(index, examples, words)

    def _read_examples(self, index: np.ndarray) -> list[Example]:
        """None of them where no more than single labels are asked for."""
        if self._tokens is None and self._labels_as == "index":
            return []
        return self._examples.read(index)

    def _gather(
        self,
        index: np.ndarray,
        examples: Sequence[Example],
        words: Sequence[str] | None,
        named: np.ndarray | None = None,
    ) -> Batch:
        inputs: dict[str, np.ndarray] = {}
        for view in self.views:
            if isinstance(view, TextView):
                assert self._tokens is not None
                assert words is not None
                inputs["text"] = self._tokens.encode(words)
            else:
                inputs[view.modality] = self._rows[view].read(index)
        labels = self._labels(index, examples, named) if self.dataset.label_names else None
        return Batch(inputs=inputs, labels=labels, index=index)

    def _labels(
        self, index: np.ndarray, examples: Sequence[Example], named: np.ndarray | None
    ) -> np.ndarray:
        if self._labels_as == "index":
            return self._examples.single_labels(index) if named is None else named
        labels = np.zeros((len(examples), len(self.dataset.label_names)), np.bool_)
        for row, example in enumerate(examples):
            labels[row, list(example.labels)] = True
        return labels

    def __getstate__(self) -> dict[str, object]:
        """Another process gets all but what is open here."""
        return {name: value for name, value in self.__dict__.items() if name != "_open"}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state, _open=weakref.WeakSet())

    def close(self) -> None:
        """Ends every iteration of this loader, its thread and its processes."""
        for batches in list(self._open):
            batches.close()

    def __enter__(self) -> "Loader":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: types.TracebackType | None,
    ) -> None:
        self.close()


def made_ahead(
    make: Callable[[J], Batch], jobs: Iterable[J], *, num_workers: int, prefetch: int
) -> Batches:
    """make(job) for each job in order, by so many processes, or by a thread if there are none."""
    if num_workers:
        return Workers(make, jobs, num_workers=num_workers, depth=prefetch)
    return Prefetch(make, jobs, depth=prefetch)


def _tokenizer(dataset: Dataset, chosen: Tokenizer | None, view: TextView) -> Tokenizer:
    if chosen is not None:
        own_tokenizer.check(dataset, chosen)
        return chosen
    own = own_tokenizer.load(dataset)
    if own is None:
        raise ValueError(
            f"view {view.key} needs a tokenizer; dataset {dataset.name} holds none: "
            f"imp-data tokenizer --data {dataset.path}"
        )
    return own


def _check_stored(dataset: Dataset, view: View) -> None:
    if view not in dataset.views:
        stored = ", ".join(stored.key for stored in dataset.views)
        raise ValueError(
            f"dataset {dataset.name} does not store {view.key}; it stores {stored}. "
            f"Build it with --views {view.key} too"
        )
    if "tensorstore" not in dataset.formats:
        raise ValueError(
            f"dataset {dataset.name} is stored as {', '.join(dataset.formats)} only; the loader "
            "reads tensorstore: build it with --format both"
        )


def _stream(seed: int, purpose: int) -> int:
    """A seed of its own for each purpose."""
    return int(randomness.mix(np.array([seed & 0xFFFFFFFFFFFFFFFF], np.uint64), purpose)[0])
