"""JPEG files that cost what photographs cost: noise whose power falls with frequency, in colour."""

import io
import multiprocessing
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

SIDE = 384
_ORIGINALS = 64


def write(folder: Path, count: int, *, classes: int = 10) -> Path:
    """FOLDER/train/<class>/<number>.jpg, each of its own; reused where they are all there."""
    done = folder / f"{count}.complete"
    if not done.exists():
        for label in range(classes):
            (folder / "train" / f"{label:02d}").mkdir(parents=True, exist_ok=True)
        chunks = [range(start, min(start + 100, count)) for start in range(0, count, 100)]
        with multiprocessing.get_context("spawn").Pool() as pool:
            jobs = [pool.apply_async(_write_chunk, (folder, chunk, classes)) for chunk in chunks]
            for job in tqdm(jobs, desc="photos", unit="x100", disable=None):
                job.get()
        done.touch()
    return folder


def _write_chunk(folder: Path, numbers: range, classes: int) -> None:
    for number in numbers:
        path = folder / "train" / f"{number % classes:02d}" / f"{number:06d}.jpg"
        path.write_bytes(photo(number))


def photo(number: int, side: int = SIDE) -> bytes:
    """A square JPEG; of 384 about 30 kB, of 704 about 150."""
    rng = np.random.default_rng(number)
    shift = rng.integers(0, side, 2)
    pixels = np.roll(_original(number % _ORIGINALS, side), shift, (0, 1))
    pixels = np.clip(pixels * rng.uniform(0.7, 1.2, 3) + rng.uniform(-20, 20, 3), 0, 255)
    file = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(file, "JPEG", quality=85)
    return file.getvalue()


_cache: dict[tuple[int, int], np.ndarray] = {}


def _original(number: int, side: int) -> np.ndarray:
    """float32 [side, side, 3] within 0 and 255, periodic; amplitudes fall as 1/f."""
    if (number, side) not in _cache:
        rng = np.random.default_rng(10_000_000 + number)
        frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side))
        frequency[0, 0] = 1
        noise = np.fft.rfft2(rng.standard_normal((side, side, 3)), axes=(0, 1))
        field = np.fft.irfft2(noise / frequency[..., None] ** 1.2, s=(side, side), axes=(0, 1))
        field = (field - field.mean()) / field.std()
        _cache[number, side] = (128 + 50 * field).clip(0, 255).astype(np.float32)
    return _cache[number, side]
