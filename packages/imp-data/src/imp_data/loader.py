"""Loader: a dataset on disk -> batches, in an order that can stop, resume and spread over hosts.

The batch of a step is a pure function of (dataset, seed, step): a position is a number. Hosts take
slices of one global batch, so their number may change between a stop and a resume.
"""

import types
import weakref
from collections.abc import Iterator, Sequence

import numpy as np

from imp_data import randomness
from imp_data.augment import Augment
from imp_data.batch import Batch
from imp_data.captions import Captions, TextsFrom, TokenCache
from imp_data.datasets import Dataset
from imp_data.order import Shuffle
from imp_data.prefetch import Prefetch
from imp_data.stores.rows import Rows, open_rows
from imp_data.tokenizer import Tokenizer
from imp_data.views import TextView, View

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
        host_index: int = 0,
        num_hosts: int = 1,
        cache_bytes: int = 2 << 30,
        prefetch: int = 2,
    ) -> None:
        """`batch_size` counts all hosts' examples. At most one view a modality.

        `texts` says whether a TextView shows a caption or the label's name, `prompts` the phrases
        around it, such as "an icon of {}". Splits of at most `cache_bytes` are read once and kept.
        Raises ValueError for a view that isn't stored, a missing split, text without a tokenizer,
        hosts that don't divide the batch.
        """
        dataset.check_split(split)
        if batch_size < 1 or num_hosts < 1 or batch_size % num_hosts:
            raise ValueError(f"batch_size {batch_size} must be a multiple of {num_hosts} hosts")
        if not 0 <= host_index < num_hosts:
            raise ValueError(f"host_index {host_index} must be within 0 and {num_hosts - 1}")
        if len({view.modality for view in views}) != len(views) or not views:
            keys = ", ".join(view.key for view in views)
            raise ValueError(f"views ({keys}) must be one a modality, and at least one")
        self.dataset = dataset
        self.split = split
        self.views = tuple(views)
        self.batch_size = batch_size
        self.seed = seed
        self.augment = augment
        self.num_examples = dataset.num_examples[split]
        self._host = (host_index, batch_size // num_hosts)
        self._prefetch = prefetch
        self._order = Shuffle(num_examples=self.num_examples, seed=_stream(seed, _ORDER))
        examples = dataset.examples(split)
        self._labels = examples.labels if dataset.label_names else None
        self._rows: dict[View, Rows] = {}
        self._tokens: TokenCache | None = None
        for view in self.views:
            if isinstance(view, TextView):
                if tokenizer is None:
                    raise ValueError(f"view {view.key} needs a tokenizer")
                self._tokens = TokenCache(tokenizer, view.length)
                self._captions = Captions.of(dataset, examples, texts, prompts)
            else:
                _check_stored(dataset, view)
                self._rows[view] = open_rows(dataset, split, view)
        self._cached = sum(rows.num_bytes for rows in self._rows.values()) <= cache_bytes
        self._open: weakref.WeakSet[Prefetch[Batch]] = weakref.WeakSet()

    @property
    def steps_per_epoch(self) -> float:
        return self.num_examples / self.batch_size

    def batch(self, step: int) -> Batch:
        """This host's slice of the global batch at `step`, which is at least 0."""
        if step < 0:
            raise ValueError(f"step {step} must be at least 0")
        host_index, count = self._host
        positions = step * self.batch_size + host_index * count + np.arange(count)
        index = self._order(positions)
        words = None
        if self._tokens is not None:
            keys = randomness.keys(_stream(self.seed, _WORDS), positions)
            words = self._captions.draw(index, keys)
        batch = self._gather(index, words)
        if self.augment is not None:
            keys = randomness.keys(_stream(self.seed, _AUGMENT), positions)
            for modality, array in batch.inputs.items():
                batch.inputs[modality] = self.augment(modality, array, keys)
        return batch

    def batches(self, start: int = 0, stop: int | None = None) -> Prefetch[Batch]:
        """Steps start, start + 1, … before `stop`, made ahead in a thread; `close()` when done."""
        prefetch = Prefetch(self.batch, start=start, stop=stop, depth=self._prefetch)
        self._open.add(prefetch)
        return prefetch

    def __iter__(self) -> Iterator[Batch]:
        return iter(self.batches())

    def all(self, batch_size: int | None = None) -> Iterator[Batch]:
        """Every example once, in order, first captions, nothing augmented; the last may be short.

        Every host sees all of them.
        """
        size = batch_size or self.batch_size
        for start in range(0, self.num_examples, size):
            index = np.arange(start, min(start + size, self.num_examples))
            words = self._captions.first(index) if self._tokens is not None else None
            yield self._gather(index, words)

    def _gather(self, index: np.ndarray, words: Sequence[str] | None) -> Batch:
        inputs: dict[str, np.ndarray] = {}
        for view in self.views:
            if isinstance(view, TextView):
                assert self._tokens is not None
                assert words is not None
                inputs["text"] = self._tokens.encode(words)
            else:
                inputs[view.modality] = self._rows[view].read(index, cached=self._cached)
        labels = None if self._labels is None else self._labels[index]
        return Batch(inputs=inputs, labels=labels, index=index)

    def close(self) -> None:
        """Ends every iteration of this loader and its thread."""
        for prefetch in list(self._open):
            prefetch.close()

    def __enter__(self) -> "Loader":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: types.TracebackType | None,
    ) -> None:
        self.close()


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
