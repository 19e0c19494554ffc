"""Decoding and resizing of images: ours, and img2dataset's resizer, on the same files."""

import importlib.util
import io
import multiprocessing
import resource
import statistics
import warnings
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, TypeAlias

from PIL import Image

from imp_data import media
from imp_data.views import ImageView

_QUALITY = 95
_WARM = 8
Resize: TypeAlias = Callable[[bytes], Any]


def compare(source: Path, *, size: int, rounds: int) -> None:
    """Prints images a CPU second of each, in turns, each in a process of its own."""
    arms: dict[str, Callable[[int], Resize]] = {"ours": _ours, "ours, then JPEG": _ours_as_jpeg}
    try:
        _peer()
    except ModuleNotFoundError as error:
        print(
            f"\nwithout img2dataset, for {error}; to compare: pip install --no-deps img2dataset "
            "and pip install albumentations opencv-python-headless"
        )
    else:
        arms |= {"img2dataset, with its JPEG": _img2dataset, "its decoder and resize": _opencv}
    rates: dict[str, list[float]] = {name: [] for name in arms}
    pool = multiprocessing.get_context("spawn")
    for number in range(rounds):
        for name in sorted(arms, reverse=bool(number % 2)):
            with pool.Pool(1) as process:
                rates[name].append(process.apply(_measure, (arms[name], source, size)))
    print(f"\nimages to {size} x {size}, one process, medians of {rounds} rounds")
    print("| | images a CPU second | against ours |\n|---|---|---|")
    for name, own in rates.items():
        relative = statistics.median(a / b for a, b in zip(own, rates["ours"]))
        print(f"| {name} | {statistics.median(own):,.0f} | {relative:.2f} |")


def _measure(arm: Callable[[int], Resize], source: Path, size: int) -> float:
    files = [path.read_bytes() for path in sorted(source.rglob("*.jpg"))]
    resize = arm(size)
    for data in files[:_WARM]:
        resize(data)
    began = _cpu()
    for data in files:
        resize(data)
    return len(files) / (_cpu() - began)


def _cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _ours(size: int) -> Resize:
    view = ImageView(size=size)
    return lambda data: media.load(data, view)


def _ours_as_jpeg(size: int) -> Resize:
    resize = _ours(size)

    def run(data: bytes) -> bytes:
        out = io.BytesIO()
        Image.fromarray(resize(data)).save(out, "JPEG", quality=_QUALITY)
        return out.getvalue()

    return run


def _img2dataset(size: int) -> Resize:
    resizer = _peer().Resizer(size, "center_crop", False, encode_quality=_QUALITY)

    def run(data: bytes) -> bytes:
        content, *_, error = resizer(io.BytesIO(data))
        assert error is None, error
        return content

    return run


def _opencv(size: int) -> Resize:
    """What the resizer calls for a square picture, without its JPEG and its own overhead."""
    cv2 = importlib.import_module("cv2")
    np = importlib.import_module("numpy")
    cv2.setNumThreads(1)

    def run(data: bytes) -> object:
        picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
        return cv2.resize(picture, (size, size), interpolation=cv2.INTER_AREA)

    return run


def _peer() -> ModuleType:
    """The resizer's module alone: its package would import Spark and more."""
    package = importlib.util.find_spec("img2dataset")
    if package is None or not package.submodule_search_locations:
        raise ModuleNotFoundError("No module named 'img2dataset'")
    path = Path(package.submodule_search_locations[0]) / "resizer.py"
    spec = importlib.util.spec_from_file_location("img2dataset_resizer", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        spec.loader.exec_module(module)
    return module
