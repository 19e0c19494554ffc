"""Edits: what happens to a picture, a recording or a caption on its way into another data set."""

import io
import re
from collections.abc import Callable

import numpy as np
import soundfile
import soxr
from PIL import Image, ImageEnhance, ImageOps

Generator = np.random.Generator
Picture = Image.Image


def png(picture: Picture) -> bytes:
    return _encoded(picture, "PNG", compress_level=1)


def jpeg(quality: int) -> Callable[[Picture, Generator], bytes]:
    return lambda picture, _: _encoded(picture, "JPEG", quality=quality)


def webp(picture: Picture, _: Generator) -> bytes:
    return _encoded(picture, "WEBP", quality=50)


def half(picture: Picture, _: Generator) -> bytes:
    return png(picture.resize((picture.width // 2, picture.height // 2)))


def squeezed(picture: Picture, _: Generator) -> bytes:
    return png(picture.resize((96, 96)))


def centre_crop(picture: Picture, _: Generator) -> bytes:
    return png(_crop(picture, 0.5, 0.5))


def crop(picture: Picture, rng: Generator) -> bytes:
    return png(_crop(picture, *rng.random(2)))


def channels(picture: Picture, rng: Generator) -> bytes:
    return png(_channels(picture, rng))


def light(picture: Picture, rng: Generator) -> bytes:
    brightness, contrast = rng.uniform(0.7, 1.3, 2)
    brighter = ImageEnhance.Brightness(picture).enhance(brightness)
    return png(ImageEnhance.Contrast(brighter).enhance(contrast))


def hue(picture: Picture, rng: Generator) -> bytes:
    turned = np.array(picture.convert("HSV"))
    turned[..., 0] += np.uint8(rng.choice([14, 242]))
    return png(Image.fromarray(turned, "HSV").convert("RGB"))


def grey(picture: Picture, _: Generator) -> bytes:
    return png(picture.convert("L"))


def mirrored(picture: Picture, _: Generator) -> bytes:
    return png(ImageOps.mirror(picture))


def everything(picture: Picture, rng: Generator) -> bytes:
    changed = _channels(_crop(ImageOps.mirror(picture), *rng.random(2)), rng)
    return _encoded(changed, "JPEG", quality=60)


PICTURE: dict[str, Callable[[Picture, Generator], bytes]] = {
    "JPEG, quality 75": jpeg(75),
    "JPEG, quality 30": jpeg(30),
    "WebP, quality 50": webp,
    "half the size": half,
    "squeezed to 96 x 96": squeezed,
    "centre 90 % of each side": centre_crop,
    "any 90 % of each side": crop,
    "channels ±20 % and ±20 levels": channels,
    "brightness, contrast ±30 %": light,
    "hue by 20 degrees": hue,
    "greyscale": grey,
    "mirrored": mirrored,
    "mirrored, 90 %, channels, JPEG 60": everything,
}


def wav(samples: np.ndarray, rate: int, kind: str = "WAV") -> bytes:
    out = io.BytesIO()
    soundfile.write(out, samples, rate, format=kind)
    return out.getvalue()


def noise(samples: np.ndarray, rate: int, rng: Generator) -> bytes:
    level = np.sqrt(np.square(samples).mean()) * 10 ** (-30 / 20)
    return wav(samples + rng.normal(0, level, len(samples)), rate)


SOUND: dict[str, Callable[[np.ndarray, int, Generator], bytes]] = {
    "Ogg Vorbis": lambda x, rate, _: wav(x, rate, "OGG"),
    "MP3": lambda x, rate, _: wav(x, rate, "MP3"),
    "at 12 kHz": lambda x, rate, _: wav(soxr.resample(x, rate, 12_000), 12_000),
    "at a quarter of the level": lambda x, rate, _: wav(x / 4, rate),
    "noise at -30 dB": noise,
    "treble lifted": lambda x, rate, _: wav(np.diff(x, prepend=0) / 2 + x / 2, rate),
    "the middle 90 %": lambda x, rate, _: wav(x[len(x) // 20 : -len(x) // 20], rate),
}


def typo(text: str, rng: Generator) -> str:
    place = int(rng.integers(len(text)))
    return text[:place] + "x" + text[place + 1 :]


TEXT: dict[str, Callable[[str, Generator], str]] = {
    "capitals and a full stop": lambda text, _: text.upper() + ".",
    "hyphens for spaces": lambda text, _: re.sub(" ", "-", text),
    "one wrong letter": typo,
    "a word more": lambda text, _: text + " now",
}


def _encoded(picture: Picture, kind: str, **options: int) -> bytes:
    out = io.BytesIO()
    picture.save(out, kind, **options)
    return out.getvalue()


def _crop(picture: Picture, left: float, top: float) -> Picture:
    width, height = round(picture.width * 0.9), round(picture.height * 0.9)
    x, y = round(left * (picture.width - width)), round(top * (picture.height - height))
    return picture.crop((x, y, x + width, y + height))


def _channels(picture: Picture, rng: Generator) -> Picture:
    levels = np.asarray(picture) * rng.uniform(0.8, 1.2, 3) + rng.uniform(-20, 20, 3)
    return Image.fromarray(np.clip(levels, 0, 255).astype(np.uint8))
