"""Images: encoded bytes -> uint8 [size, size, 3], by Pillow."""

import io
import struct
import warnings
import zlib
from collections.abc import Sequence

import numpy as np
from PIL import Image

from imp_data.media import integrity
from imp_data.media.limits import DEFAULT_LIMITS, Limits, MediaError
from imp_data.views import ImageView

# What Pillow's decoders raise on broken files, besides OSError.
BROKEN = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    KeyError,
    TypeError,
    OverflowError,
    AttributeError,
    MemoryError,
    RuntimeError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)
# Pillow reads more: EPS starts Ghostscript, and the rest are no pictures that people collect.
_FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "ICO", "AVIF")
# EXIF's orientation -> the transpose that undoes it.
_ORIENTATIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_EXIF_ORIENTATION = 0x0112
# A JPEG is decoded at the smallest scale that keeps this many pixels for each one wanted, so that
# the resize's own filter still decides what the result looks like.
_DRAFT_MARGIN = 2
# What Pillow warns of is refused here or harmless; a filter set for one call is not thread-safe.
warnings.filterwarnings("ignore", module=r"PIL\.")


def load_many(
    data: bytes, views: Sequence[ImageView], *, limits: Limits = DEFAULT_LIMITS
) -> dict[str, np.ndarray]:
    """Decodes once: view.key -> uint8 [size, size, 3]. Raises MediaError."""
    picture = decode(data, limits=limits, size=max(view.size for view in views))
    return {view.key: fit(picture, view.size) for view in views}


def decode(data: bytes, *, limits: Limits = DEFAULT_LIMITS, size: int | None = None) -> Image.Image:
    """An RGB picture: upright, alpha over white, an animation's first frame. Raises MediaError.

    `size` is the shorter side that will be wanted at most: a JPEG may then come out smaller than it
    is, but at least twice that size.
    """
    limits.check_bytes(data)
    try:
        integrity.check(data)
    except MediaError as error:
        raise MediaError(f"not a readable image: {error}") from error
    try:
        _check_icon(data, limits)
        with Image.open(io.BytesIO(data), formats=_FORMATS) as encoded:
            limits.check_pixels(*encoded.size)
            if size is not None:
                encoded.draft(None, (size * _DRAFT_MARGIN, size * _DRAFT_MARGIN))
            encoded.load()
            orientation = encoded.getexif().get(_EXIF_ORIENTATION)
            # Converting copies a picture, which takes almost as long as decoding it.
            plain = encoded.mode == "RGB" and not encoded.has_transparency_data
            picture: Image.Image = encoded if plain else to_rgb(encoded)
    except MediaError:
        raise
    except BROKEN as error:
        raise MediaError(f"not a readable image: {reason_of(error)}") from error
    if orientation in _ORIENTATIONS:
        picture = picture.transpose(_ORIENTATIONS[orientation])
    return picture


def _check_icon(data: bytes, limits: Limits) -> None:
    """Pillow decodes an icon when it opens it, and the size inside may not be the one announced."""
    if data[:4] != b"\0\0\1\0":
        return
    (count,) = struct.unpack_from("<H", data, 4)
    for number in range(count):
        (place,) = struct.unpack_from("<I", data, 6 + 16 * number + 12)
        if data[place : place + 4] == b"\x89PNG":
            limits.check_pixels(*struct.unpack_from(">II", data, place + 16))
        else:
            width, height = struct.unpack_from("<ii", data, place + 4)
            limits.check_pixels(abs(width), abs(height))


def to_rgb(picture: Image.Image) -> Image.Image:
    """Any Pillow mode -> RGB: transparency over white, 16 bits scaled to 8. Raises MediaError."""
    if picture.mode.startswith("I;16"):
        levels = np.asarray(picture).astype(np.uint32)
        return Image.fromarray(((levels + 128) // 257).astype(np.uint8)).convert("RGB")
    if picture.mode == "I" and getattr(picture, "format", None) == "PPM":
        # Pillow has scaled it to 16 bits.
        return Image.fromarray(((np.asarray(picture) + 128) // 257).astype(np.uint8)).convert("RGB")
    if picture.mode in ("I", "F"):
        raise MediaError(f"pixels of mode {picture.mode} have no known range; save it as 8 bits")
    if picture.has_transparency_data:
        layers = picture.convert("RGBA")
        white = Image.new("RGBA", layers.size, "white")
        return Image.alpha_composite(white, layers).convert("RGB")
    return picture.convert("RGB")


def fit(picture: Image.Image, size: int) -> np.ndarray:
    """Shorter side to `size`, antialiased, and the square at the centre: uint8 [size, size, 3]."""
    width, height = picture.size
    side = min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    if width != size or height != size:
        box = (left, top, left + side, top + side)
        kernel = Image.Resampling.HAMMING if side > size else Image.Resampling.BICUBIC
        picture = picture.resize((size, size), kernel, box=box)
    return np.asarray(picture)


def reason_of(error: Exception) -> str:
    """Pillow's own words in one line, without the address of the stream that it quotes."""
    reason = " ".join(str(error).split()) or type(error).__name__
    return reason.split(" <_io.")[0]
