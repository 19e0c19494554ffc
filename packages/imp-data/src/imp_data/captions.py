"""Captions: which words stand beside an example at a step, and their tokens."""

import dataclasses
from collections.abc import Sequence
from typing import Literal

import numpy as np

from imp_data import randomness
from imp_data.datasets import Dataset
from imp_data.stores.examples import Example
from imp_data.tokenizer import Tokenizer

TextsFrom = Literal["caption", "label"]
_CAPTION, _PROMPT = 200, 201
_MAX_CACHED = 1 << 16


@dataclasses.dataclass(frozen=True, kw_only=True)
class Captions:
    """Draws one text an example: a caption of its own or a label's name, within a prompt.

    `names` are the labels' where these are the texts, else None. `prompts` hold "{}" where the text
    goes; without any the text stands alone.
    """

    names: tuple[str, ...] | None
    prompts: tuple[str, ...]

    @classmethod
    def of(
        cls, dataset: Dataset, split: str, texts: TextsFrom, prompts: Sequence[str]
    ) -> "Captions":
        """Raises ValueError when an example has no such text, or a prompt no place for it."""
        if isinstance(prompts, str):
            raise ValueError(f"prompts must be a list of strings, not the string {prompts!r}")
        for prompt in prompts:
            if "{}" not in prompt:
                raise ValueError(f'prompt {prompt!r} must hold "{{}}", where the text goes')
        count = dataset.num_examples[split]
        if texts == "caption":
            if dataset.num_captioned(split) < count:
                without = next(e.id for e in dataset.examples(split) if not e.texts)
                raise ValueError(
                    f'{dataset.name}: {without} has no caption; use texts="label" or build '
                    "with --caption-from stem"
                )
            return cls(names=None, prompts=tuple(prompts))
        if texts != "label":
            raise ValueError(f'texts {texts!r} must be "caption" or "label"')
        if dataset.num_labelled(split) < count:
            without = next(e.id for e in dataset.examples(split) if not e.labels)
            raise ValueError(
                f'{dataset.name} is not fully labelled: {without} has no label; use texts="caption"'
            )
        names = tuple(name.replace("_", " ").replace("-", " ") for name in dataset.label_names)
        return cls(names=names, prompts=tuple(prompts))

    def draw(self, examples: Sequence[Example], keys: np.ndarray) -> list[str]:
        """b examples, uint64 [b] keys -> b texts."""
        texts = [self._texts(example) for example in examples]
        words = [own[c] for own, c in zip(texts, _chosen(texts, keys), strict=True)]
        if not self.prompts:
            return words
        prompts = randomness.below(keys, _PROMPT, np.full(len(words), len(self.prompts))).tolist()
        return [self.prompts[p].replace("{}", w) for p, w in zip(prompts, words, strict=True)]

    def labels(self, examples: Sequence[Example], keys: np.ndarray) -> np.ndarray | None:
        """int32 [b]: the labels that `draw` names with these keys, None where it names none."""
        if self.names is None:
            return None
        labels = [example.labels for example in examples]
        drawn = [own[c] for own, c in zip(labels, _chosen(labels, keys), strict=True)]
        return np.array(drawn, np.int32)

    def first(self, examples: Sequence[Example]) -> list[str]:
        """Each example's first text in the first prompt: what evaluation sees."""
        prompt = self.prompts[0] if self.prompts else "{}"
        return [prompt.replace("{}", self._texts(example)[0]) for example in examples]

    def _texts(self, example: Example) -> tuple[str, ...]:
        if self.names is None:
            return example.texts
        return tuple(self.names[label] for label in example.labels)


def _chosen(candidates: Sequence[Sequence[object]], keys: np.ndarray) -> list[int]:
    """Which of its own candidates each example gets."""
    counts = np.array([len(own) for own in candidates], np.int64)
    return randomness.below(keys, _CAPTION, counts).tolist()


class TokenCache:
    """A tokenizer at one length that remembers what it encoded, up to a bound."""

    def __init__(self, tokenizer: Tokenizer, length: int) -> None:
        self._tokenizer = tokenizer
        self._length = length
        self._rows: dict[str, np.ndarray] = {}

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """int32 [b, length]."""
        if len(self._rows) > _MAX_CACHED:
            self._rows = {}
        rows = self._rows
        if new := [text for text in dict.fromkeys(texts) if text not in rows]:
            rows.update(zip(new, self._tokenizer.encode(new, self._length), strict=True))
        return np.stack([rows[text] for text in texts])

    def __reduce__(self) -> tuple[type["TokenCache"], tuple[Tokenizer, int]]:
        return TokenCache, (self._tokenizer, self._length)
