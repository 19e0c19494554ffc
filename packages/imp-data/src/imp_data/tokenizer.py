"""Tokenizer: text <-> ids by a SentencePiece model file. Pad is 0, end 1, unknown 2; no begin."""

import io
import os
import pathlib
from collections.abc import Iterable, Sequence

import numpy as np
import sentencepiece

from imp_data.stores.atomic import write_file

PAD, EOS, UNKNOWN = 0, 1, 2
# The 256 byte pieces, the three above and a few characters.
_MIN_VOCAB_SIZE = 270


class Tokenizer:
    """One model file; pickles and forks safely."""

    def __init__(self, model: bytes) -> None:
        """`model` is a SentencePiece model whose pad is 0 and end 1 (T5's is). Else ValueError."""
        self.model = model
        try:
            self._processor = sentencepiece.SentencePieceProcessor(model_proto=model)
        except RuntimeError as error:
            raise ValueError("not a SentencePiece model; train one: imp-data tokenizer") from error
        if (self._processor.pad_id(), self._processor.eos_id()) != (PAD, EOS):
            raise ValueError(
                f"the model's pad and end ids are {self._processor.pad_id()} and "
                f"{self._processor.eos_id()}; train one with pad_id=0 and eos_id=1"
            )

    def __reduce__(self) -> tuple[type["Tokenizer"], tuple[bytes]]:
        return Tokenizer, (self.model,)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Tokenizer":
        """Raises FileNotFoundError or ValueError that says how to get one."""
        file = pathlib.Path(path)
        if not file.is_file():
            raise FileNotFoundError(f"no tokenizer at {file}; train one: imp-data tokenizer")
        try:
            return cls(file.read_bytes())
        except ValueError as error:
            raise ValueError(f"{file}: {error}") from error

    @classmethod
    def train(
        cls,
        texts: Iterable[str],
        path: str | os.PathLike[str] | None,
        vocab_size: int,
        seed: int = 0,
    ) -> "Tokenizer":
        """A unigram model with byte fallback, text lower-cased and NFKC, written to `path` if any.

        Few texts give fewer than `vocab_size` pieces. Raises ValueError for no text or a vocabulary
        that the bytes alone would fill.
        """
        if vocab_size < _MIN_VOCAB_SIZE:
            raise ValueError(f"vocab_size {vocab_size} must be at least {_MIN_VOCAB_SIZE}")
        lines = [text for text in texts if text.strip()]
        if not lines:
            raise ValueError("no texts to train a tokenizer on; build a dataset with captions")
        sentencepiece.set_random_generator_seed(seed)
        model = io.BytesIO()
        try:
            sentencepiece.SentencePieceTrainer.train(
                sentence_iterator=iter(lines),
                model_writer=model,
                model_type="unigram",
                vocab_size=vocab_size,
                hard_vocab_limit=False,
                byte_fallback=True,
                character_coverage=0.9999,
                normalization_rule_name="nmt_nfkc_cf",
                pad_id=PAD,
                eos_id=EOS,
                unk_id=UNKNOWN,
                bos_id=-1,
                num_threads=1,
                minloglevel=2,
            )
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[-1]
            raise ValueError(
                f"vocab_size {vocab_size} does not suit {len(lines)} texts: {reason}"
            ) from error
        if path is not None:
            write_file(pathlib.Path(path), model.getvalue())
        return cls(model.getvalue())

    @property
    def vocab_size(self) -> int:
        return self._processor.vocab_size()

    def encode(self, texts: Sequence[str], length: int) -> np.ndarray:
        """int32 [b, length]: ids, then the end, cut to `length` with the end kept, then padding."""
        ids = np.zeros((len(texts), length), np.int32)
        for row, pieces in enumerate(self._processor.encode(list(texts), out_type=int)):
            kept = [*pieces[: length - 1], EOS]
            ids[row, : len(kept)] = kept
        return ids

    def decode(self, ids: np.ndarray) -> list[str]:
        """int [b, n] -> b texts, normalised as they were encoded."""
        return [self._processor.decode([int(i) for i in row if i not in (PAD, EOS)]) for row in ids]
