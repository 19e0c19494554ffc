"""Augment: train-time randomness, a pure function of its keys."""

import dataclasses
import math

import numpy as np

from imp_data import randomness

_SILENCE = math.log(1e-6)
# Streams of randomness, one for each draw.
_SCALE, _LEFT, _TOP, _FLIP, _BRIGHTNESS, _CONTRAST, _CHANNELS, _ORDER, _ROLL, _GAIN, _SHIFT = range(
    100, 111
)
_ORDERS = np.array([(0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)])


@dataclasses.dataclass(frozen=True, kw_only=True)
class Augment:
    """What training may do to an example, by default nothing; frames of one video share one draw.

    `crop_scale` bounds the side of a random square crop as a share of the picture's, resized back.
    `brightness` shifts by up to that share of the range; `contrast` scales around mid grey by up to
    1 ± that. `permute_channels` is the probability of another order of red, green and blue.
    `flip` mirrors half of the examples: off, for many pictures have a left and a right.
    `audio_roll` turns a clip in time by up to that share; `audio_gain` adds up to ± that to the
    log-mel spectrogram; `audio_shift` moves it by up to so many bands, about a transposition.
    """

    crop_scale: tuple[float, float] = (1.0, 1.0)
    brightness: float = 0.0
    contrast: float = 0.0
    permute_channels: float = 0.0
    flip: bool = False
    audio_roll: float = 0.0
    audio_gain: float = 0.0
    audio_shift: int = 0

    def __post_init__(self) -> None:
        low, high = self.crop_scale
        if not 0 < low <= high <= 1:
            raise ValueError(f"crop_scale {self.crop_scale} must rise within 0 and 1")
        for name in ("brightness", "contrast", "permute_channels", "audio_roll"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} {getattr(self, name)} must be within 0 and 1")
        for name in ("audio_gain", "audio_shift"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} {getattr(self, name)} must be at least 0")

    def __call__(self, modality: str, arrays: np.ndarray, keys: np.ndarray) -> np.ndarray:
        """[b, ...] of one modality and uint64 [b] -> the same shape and dtype; text as it is."""
        match modality:
            case "image" if self._changes_pictures:
                return self.pictures(arrays[:, None], keys)[:, 0]
            case "video" if self._changes_pictures:
                return self.pictures(arrays, keys)
            case "audio" if self.audio_roll or self.audio_gain or self.audio_shift:
                return self.spectrograms(arrays, keys)
        return arrays

    def pictures(self, clips: np.ndarray, keys: np.ndarray) -> np.ndarray:
        """uint8 [b, t, h, w, 3], h = w."""
        # Here: an experiment that is only described, or measured, needs no Pillow.
        from PIL import Image

        clips = np.ascontiguousarray(clips)
        size = clips.shape[2]
        low, high = self.crop_scale
        side = (low + (high - low) * randomness.uniform(keys, _SCALE)) * size
        left = randomness.uniform(keys, _LEFT) * (size - side)
        top = randomness.uniform(keys, _TOP) * (size - side)
        flip = self.flip & (randomness.uniform(keys, _FLIP) < 0.5)
        tables = self._tables(keys)
        channels = np.tile(np.arange(3), (len(keys), 1))
        permuted = randomness.uniform(keys, _CHANNELS) < self.permute_channels
        order = randomness.below(keys, _ORDER, np.full(len(keys), len(_ORDERS)))
        channels[permuted] = _ORDERS[order[permuted]]
        result = np.empty_like(clips)
        for i, clip in enumerate(clips):
            box = (left[i], top[i], left[i] + side[i], top[i] + side[i])
            table = tables[i].tobytes()
            for t, pixels in enumerate(clip):
                picture = Image.frombuffer("RGB", (size, size), pixels)
                picture = picture.resize((size, size), Image.Resampling.BILINEAR, box=box)
                levels = picture.tobytes().translate(table)
                result[i, t] = np.frombuffer(levels, np.uint8).reshape(size, size, 3)
            if flip[i]:
                result[i] = result[i, :, :, ::-1]
            if permuted[i]:
                result[i] = result[i][..., channels[i]]
        return result

    def spectrograms(self, clips: np.ndarray, keys: np.ndarray) -> np.ndarray:
        """float32 [b, frames, mels], natural logarithms of power."""
        frames = clips.shape[1]
        spread = 2 * randomness.uniform(keys, _ROLL) - 1
        shift = np.rint(spread * self.audio_roll * frames).astype(np.int64)
        gain = (2 * randomness.uniform(keys, _GAIN) - 1) * self.audio_gain
        source = (np.arange(frames) - shift[:, None]) % frames
        rolled = np.take_along_axis(clips, source[..., None], axis=1)
        if self.audio_shift:
            bands = clips.shape[2]
            move = randomness.below(keys, _SHIFT, np.full(len(keys), 2 * self.audio_shift + 1))
            band = np.arange(bands) - (move[:, None] - self.audio_shift)
            moved = np.take_along_axis(rolled, np.clip(band, 0, bands - 1)[:, None], axis=2)
            rolled = np.where(((band >= 0) & (band < bands))[:, None], moved, _SILENCE)
        return np.maximum(rolled + gain[:, None, None].astype(np.float32), np.float32(_SILENCE))

    @property
    def _changes_pictures(self) -> bool:
        still = self.crop_scale == (1.0, 1.0) and not self.flip
        return not still or max(self.brightness, self.contrast, self.permute_channels) > 0

    def _tables(self, keys: np.ndarray) -> np.ndarray:
        """Brightness and contrast as one table of 256 levels an example: uint8 [b, 256]."""
        shift = (2 * randomness.uniform(keys, _BRIGHTNESS) - 1) * self.brightness * 255
        scale = 1 + (2 * randomness.uniform(keys, _CONTRAST) - 1) * self.contrast
        levels = (np.arange(256) - 127.5) * scale[:, None] + 127.5 + shift[:, None]
        return np.clip(np.rint(levels), 0, 255).astype(np.uint8)
