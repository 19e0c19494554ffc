"""CIFAR's python batches: pickles, of which nothing but arrays, bytes and text is ever made."""

import dataclasses
import functools
import io
import pickle
from typing import Any

import numpy as np
from PIL import Image

from imp_data.media.limits import Limits, MediaError
from imp_data.sources import files

_SIDE = 32
# Batches kept: a shard's rows may come from any of them.
_CACHED_BATCHES = 6
# What every pickled array calls; it has no public name.
_reconstruct = np.zeros(0).__reduce__()[0]
# All that a batch of arrays calls; whatever else a pickle names is refused, not called.
_CALLABLES: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    # How Python 3 writes bytes into pickles that Python 2 can read.
    ("_codecs", "encode"): lambda text, encoding: str(text).encode(encoding),
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (found := _CALLABLES.get((module, name))) is None:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which no CIFAR batch does")
        return found


@functools.lru_cache(maxsize=_CACHED_BATCHES)
def load(path: str, status: tuple[int, str]) -> dict[str, Any]:
    """The batch's dictionary by text keys; `status` is the file's, so that a changed one is read.

    Raises OSError, and ValueError for what is no batch.
    """
    try:
        content = _Unpickler(io.BytesIO(files.read_bytes(path)), encoding="bytes").load()
        return {_text(key): value for key, value in content.items()}
    # What pickle raises on damaged ones, by its documentation and beyond.
    except (
        pickle.UnpicklingError,
        ArithmeticError,
        AttributeError,
        EOFError,
        ImportError,
        LookupError,
        MemoryError,
        TypeError,
        ValueError,
    ) as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ValueError(f"{path} is no CIFAR batch: {reason}") from error


def texts(values: object) -> list[str]:
    """Names, whichever Python wrote them."""
    return [_text(value) for value in values] if isinstance(values, list) else []


def _text(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


@dataclasses.dataclass(frozen=True, kw_only=True)
class CifarRow:
    """One picture of a batch: its row, as 1024 red, 1024 green and 1024 blue bytes."""

    row: int

    def read(self, path: str, limits: Limits) -> bytes:
        """The picture as a PNG."""
        try:
            rows = load(path, files.status(path))["data"]
            pixels = np.asarray(rows[self.row], np.uint8).reshape(3, _SIDE, _SIDE)
        except (LookupError, TypeError, ValueError) as error:
            raise MediaError(f"row {self.row} of {path} is no picture: {error}") from error
        out = io.BytesIO()
        picture = np.ascontiguousarray(pixels.transpose(1, 2, 0))
        Image.fromarray(picture).save(out, "PNG", compress_level=0)
        return out.getvalue()
