"""Preprocessor: what a user sends -> the arrays that the encoder takes, by imp_data's own code."""

import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from imp_data import media
from imp_data.media import Limits
from imp_data.media.text import clean
from imp_data.tokenizer import Tokenizer
from imp_data.views import TextView, View

# Tighter than for files on a user's own disk: one request must not hold a worker for minutes.
SERVICE_LIMITS = Limits(
    max_bytes=64 << 20, max_seconds=600.0, max_frames=20_000, max_text_bytes=1 << 14
)


class Preprocessor:
    """Thread-safe. Every error is a ValueError with a one-line reason."""

    def __init__(
        self,
        views: Mapping[str, View],
        tokenizer: pathlib.Path | None,
        *,
        limits: Limits = SERVICE_LIMITS,
    ) -> None:
        self._views = dict(views)
        self._limits = limits
        if "text" in views and tokenizer is None:
            raise ValueError("the bundle has a text view but no tokenizer; export it again")
        self._tokenizer = None if tokenizer is None else Tokenizer.load(tokenizer)

    def media(self, modality: str, data: bytes) -> np.ndarray:
        """One encoded file -> an array of the modality's view. Raises MediaError."""
        return media.load(data, self.view(modality), limits=self._limits)

    def texts(self, texts: Sequence[str]) -> list[np.ndarray | ValueError]:
        """int32 [length] each, or what is wrong with it."""
        view = self.view("text")
        assert isinstance(view, TextView)
        assert self._tokenizer is not None
        out: list[np.ndarray | ValueError] = []
        for text in texts:
            try:
                cleaned = clean(text, limits=self._limits)
                out.append(self._tokenizer.encode([cleaned], view.length)[0])
            except ValueError as error:
                out.append(error)
        return out

    def view(self, modality: str) -> View:
        """How the model sees a modality. Raises ValueError for one that it lacks."""
        if modality not in self._views:
            raise ValueError(
                f"this model has no {modality}; it knows {', '.join(sorted(self._views))}"
            )
        return self._views[modality]
