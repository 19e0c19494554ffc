"""Examples: what is embedded, wherever it lies; each gives its arrays when asked, from any thread.

Legend: c clips of one example, 1 but for videos.
"""

import dataclasses
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np

from imp_data import media, sources
from imp_data.datasets import Dataset
from imp_data.media import clips, text
from imp_data.media.limits import DEFAULT_LIMITS, Limits
from imp_data.sources import Item, files
from imp_data.stores.rows import Rows
from imp_data.tokenizer import Tokenizer
from imp_data.views import TextView, VideoView, View, to_json


@runtime_checkable
class Examples(Protocol):
    """A sequence of inputs that become arrays of a view."""

    def __len__(self) -> int: ...

    def id(self, index: int) -> str:
        """What an example is called."""
        ...

    def fingerprint(self, index: int) -> object:
        """JSON that is another wherever the content may be."""
        ...

    def load(self, index: int, view: View, num_clips: int) -> np.ndarray:
        """[c, *view.shape], 1 <= c <= num_clips. Raises OSError or ValueError for one that is no
        use."""
        ...

    def only(self, indices: Sequence[int]) -> "Examples":
        """These examples, in this order."""
        ...


@dataclasses.dataclass(frozen=True)
class Files:
    """A source's items."""

    items: Sequence[Item]
    limits: Limits = DEFAULT_LIMITS

    def __len__(self) -> int:
        return len(self.items)

    def id(self, index: int) -> str:
        return self.items[index].id

    def fingerprint(self, index: int) -> object:
        item = self.items[index]
        return [item.path, files.status(item.path), repr(item.payload), item.start, item.end]

    def load(self, index: int, view: View, num_clips: int) -> np.ndarray:
        item = self.items[index]
        data = sources.read_bytes(item, self.limits)
        if isinstance(view, VideoView):
            return clips.load(
                data, view, num_clips, limits=self.limits, start=item.start, end=item.end
            )
        arrays = media.load_many(data, [view], limits=self.limits, start=item.start, end=item.end)
        return arrays[view.key][None]

    def only(self, indices: Sequence[int]) -> "Files":
        return Files([self.items[i] for i in indices], self.limits)


@dataclasses.dataclass(frozen=True)
class Stored:
    """Rows of a built dataset, each a split and a number in it, in a view that it stores: one clip
    each."""

    dataset: Dataset
    rows: Sequence[tuple[str, int]]
    _arrays: dict[tuple[str, str], Rows] = dataclasses.field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.rows)

    def id(self, index: int) -> str:
        split, row = self.rows[index]
        return self.dataset.examples(split).read(np.array([row]))[0].id

    def fingerprint(self, index: int) -> object:
        return [self.dataset.plan_digest, *self.rows[index]]

    def load(self, index: int, view: View, num_clips: int) -> np.ndarray:
        split, row = self.rows[index]
        if (arrays := self._arrays.get((split, view.key))) is None:
            arrays = self._arrays[split, view.key] = Rows(self.dataset, split, view)
        return arrays.read(np.array([row]))

    def only(self, indices: Sequence[int]) -> "Stored":
        return Stored(self.dataset, [self.rows[i] for i in indices])


@dataclasses.dataclass(frozen=True)
class Texts:
    """Texts, tokenised as training and serving do."""

    texts: Sequence[str]
    tokenizer: Tokenizer

    def __len__(self) -> int:
        return len(self.texts)

    def id(self, index: int) -> str:
        return self.texts[index]

    def fingerprint(self, index: int) -> object:
        return self.texts[index]

    def load(self, index: int, view: View, num_clips: int) -> np.ndarray:
        assert isinstance(view, TextView)
        return self.tokenizer.encode([text.clean(self.texts[index])], view.length)

    def only(self, indices: Sequence[int]) -> "Texts":
        return Texts([self.texts[i] for i in indices], self.tokenizer)


def check_stored(dataset: Dataset, view: View) -> None:
    """Raises ValueError unless the dataset stores the view that the bundle takes."""
    if view not in dataset.views:
        stored = ", ".join(stored.key for stored in dataset.views)
        raise ValueError(
            f"dataset {dataset.name} stores {stored}, and this bundle takes {view.key} "
            f"({to_json(view)}); evaluate its source in place of it"
        )
