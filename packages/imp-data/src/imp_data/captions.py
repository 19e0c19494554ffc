"""Captions: which words stand beside an example at a step, and their tokens."""

import dataclasses
from collections.abc import Sequence
from typing import Literal

import numpy as np

from imp_data import randomness
from imp_data.datasets import Dataset, Examples
from imp_data.tokenizer import Tokenizer

TextsFrom = Literal["caption", "label"]
_CAPTION, _PROMPT = 200, 201
_MAX_CACHED = 1 << 18


@dataclasses.dataclass(frozen=True, kw_only=True)
class Captions:
    """Draws one text an example: a caption of its own or a label's name, within a prompt.

    `prompts` hold "{}" where the text goes; without any the text stands alone.
    """

    texts: tuple[tuple[str, ...], ...]
    prompts: tuple[str, ...]

    @classmethod
    def of(
        cls, dataset: Dataset, examples: Examples, texts: TextsFrom, prompts: Sequence[str]
    ) -> "Captions":
        """Raises ValueError when an example has no such text, or a prompt no place for it."""
        if isinstance(prompts, str):
            raise ValueError(f"prompts must be a list of strings, not the string {prompts!r}")
        for prompt in prompts:
            if "{}" not in prompt:
                raise ValueError(f'prompt {prompt!r} must hold "{{}}", where the text goes')
        if texts == "caption":
            for identity, own in zip(examples.ids, examples.texts, strict=True):
                if not own:
                    raise ValueError(
                        f'{dataset.name}: {identity} has no caption; use texts="label" or build '
                        "with --caption-from stem"
                    )
            return cls(texts=examples.texts, prompts=tuple(prompts))
        if texts != "label":
            raise ValueError(f'texts {texts!r} must be "caption" or "label"')
        if not all(examples.label_sets):
            raise ValueError(f'{dataset.name} is not fully labelled; use texts="caption"')
        names = [name.replace("_", " ").replace("-", " ") for name in dataset.label_names]
        texts_of = {own: tuple(names[i] for i in own) for own in set(examples.label_sets)}
        return cls(
            texts=tuple(texts_of[own] for own in examples.label_sets), prompts=tuple(prompts)
        )

    def draw(self, index: np.ndarray, keys: np.ndarray) -> list[str]:
        """int64 [b] examples, uint64 [b] keys -> b texts."""
        counts = np.array([len(self.texts[i]) for i in index], np.int64)
        chosen = randomness.below(keys, _CAPTION, counts)
        words = [self.texts[i][c] for i, c in zip(index, chosen, strict=True)]
        if not self.prompts:
            return words
        prompts = randomness.below(keys, _PROMPT, np.full(len(words), len(self.prompts)))
        return [self.prompts[p].replace("{}", w) for p, w in zip(prompts, words, strict=True)]

    def first(self, index: np.ndarray) -> list[str]:
        """Each example's first text in the first prompt: what evaluation sees."""
        prompt = self.prompts[0] if self.prompts else "{}"
        return [prompt.replace("{}", self.texts[i][0]) for i in index]


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
