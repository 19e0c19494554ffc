"""Small sound media files of noise, of every modality, in a format that is drawn too."""

import io
import random
from collections.abc import Callable

import av
import numpy as np
import soundfile
from PIL import Image


def _picture(rng: random.Random) -> bytes:
    pixels = np.frombuffer(rng.randbytes(24 * 24 * 3), np.uint8).reshape(24, 24, 3)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, rng.choice(["PNG", "JPEG", "GIF", "WEBP", "BMP"]))
    return file.getvalue()


def _sound(rng: random.Random) -> bytes:
    samples = np.frombuffer(rng.randbytes(8_000), np.int16)
    file = io.BytesIO()
    soundfile.write(file, samples, 16_000, format=rng.choice(["WAV", "FLAC"]))
    return file.getvalue()


def _clip(rng: random.Random) -> bytes:
    file = io.BytesIO()
    kind, exact = rng.choice(["mp4", "matroska", "avi"]), {"fflags": "bitexact"}
    with av.open(file, "w", format=kind, options=exact) as container:
        stream = container.add_stream("mpeg4", rate=8)
        stream.width = stream.height = 48
        for _ in range(4):
            pixels = np.frombuffer(rng.randbytes(48 * 48 * 3), np.uint8).reshape(48, 48, 3)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels)))
        container.mux(stream.encode())
    return file.getvalue()


MEDIA: dict[str, Callable[[random.Random], bytes]] = {
    "image": _picture,
    "audio": _sound,
    "video": _clip,
}
