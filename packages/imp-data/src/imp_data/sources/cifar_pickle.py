"""CIFAR's python batches: pickles, of which nothing but arrays, bytes and text is ever made."""

import dataclasses
import functools
import io
import pickle
import struct
from typing import Any, Literal

import numpy as np
from PIL import Image

from imp_data.media.limits import Limits, MediaError
from imp_data.sources import files

_SIDE = 32
# Batches kept: a shard's rows may come from any of them.
_CACHED_BATCHES = 6


class _Type:
    """What a pickle says of its numbers, in place of numpy.dtype."""

    def __init__(self, code: object, *_: object) -> None:
        self.code = code

    def __setstate__(self, state: object) -> None:
        """Byte order and the like: bytes have none."""


class _Array:
    """What a pickle says of an array, in place of numpy.ndarray: of bytes, or refused."""

    def __init__(self, *_: object) -> None:
        self.rows = np.zeros(0, np.uint8)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, kind, fortran, data = state
        if not isinstance(kind, _Type) or kind.code not in (b"u1", "u1"):
            raise pickle.UnpicklingError("its array is not of bytes")
        order: Literal["F", "C"] = "F" if fortran else "C"
        self.rows = np.frombuffer(data, np.uint8).reshape(shape, order=order)


# All that a batch names, and what is called in its place; nothing that a pickle names is itself.
_CALLABLES: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Type,
    ("numpy.core.multiarray", "_reconstruct"): _Array,
    ("numpy._core.multiarray", "_reconstruct"): _Array,
    # How Python 3 writes bytes into pickles that Python 2 can read.
    ("_codecs", "encode"): lambda text, encoding: str(text).encode("latin-1"),
}


class _Unpickler(pickle._Unpickler):
    """That in Python: the one in C stumbles over damaged pickles with the interpreter's errors."""

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
        return {
            _text(key): value.rows if isinstance(value, _Array) else value
            for key, value in content.items()
        }
    # What pickle raises on damaged ones, by its documentation and beyond.
    except (
        pickle.UnpicklingError,
        ArithmeticError,
        AttributeError,
        EOFError,
        ImportError,
        LookupError,
        MemoryError,
        RuntimeError,
        TypeError,
        ValueError,
        struct.error,
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
