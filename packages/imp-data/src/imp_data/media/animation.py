"""Animated GIF and WebP as video: frames with their times, by Pillow, which knows both."""

import io
from collections.abc import Iterator

from PIL import Image

from imp_data.media import image
from imp_data.media.limits import Limits, MediaError

# What browsers show for a frame without a duration.
_DEFAULT_SECONDS = 0.1


def is_animation(data: bytes) -> bool:
    """By the first bytes; a still picture of these formats too."""
    return data[:4] == b"GIF8" or (data[:4] == b"RIFF" and data[8:12] == b"WEBP")


def frames(data: bytes, limits: Limits) -> Iterator[tuple[float, float, Image.Image]]:
    """Start and end in seconds, and the RGB picture. Raises MediaError; also for a still one."""
    limits.check_bytes(data)
    if data[:4] == b"GIF8":
        _check_gif(data)
    time = 0.0
    try:
        with Image.open(io.BytesIO(data), formats=("GIF", "WEBP")) as encoded:
            limits.check_pixels(*encoded.size)
            count = getattr(encoded, "n_frames", 1)
            if count < 2:
                raise MediaError("is a still picture, not a video")
            if count > limits.max_frames:
                raise MediaError(f"more than {limits.max_frames} frames, the limit")
            for number in range(count):
                encoded.seek(number)
                # A frame may be larger than the first.
                limits.check_pixels(*encoded.size)
                encoded.load()
                seconds = encoded.info.get("duration", 0) / 1000 or _DEFAULT_SECONDS
                limits.check_seconds(time + seconds)
                yield time, time + seconds, image.to_rgb(encoded)
                time += seconds
    except MediaError:
        raise
    except image.BROKEN as error:
        raise MediaError(f"not a readable animation: {image.reason_of(error)}") from error


def _check_gif(data: bytes) -> None:
    """A GIF cut between two frames reads as a shorter one: its blocks must lead to its end."""
    try:
        position = 13 + _table(data[10])
        while (kind := data[position]) != 0x3B:
            if kind == 0x21:
                position += 2
            elif kind == 0x2C:
                position += 11 + _table(data[position + 9])
            else:
                raise MediaError(f"byte {position} begins no block of a GIF")
            while data[position]:
                position += 1 + data[position]
            position += 1
    except IndexError:
        raise MediaError("the end of the GIF is missing: the file is cut short") from None


def _table(flags: int) -> int:
    """Bytes of the colour table that the flags announce."""
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0
