"""How many edited copies are found again, and how many different originals are taken for copies.

Each corpus is an evaluation set; its edited copies are the training examples. Both go through the
fingerprints, bands and exact checks that a build uses.
"""

import csv
import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from PIL import Image
from tqdm import tqdm

from benchmarks import edits
from benchmarks.clip_edits import CLIP
from imp_data.media.limits import DEFAULT_LIMITS
from imp_data.near_duplicates import fingerprints, kinds, lsh, minhash
from imp_data.near_duplicates.alike import alike
from imp_data.near_duplicates.fingerprints import Fingerprints
from imp_data.near_duplicates.kinds import COMPARISONS, Kind

_PHOTO_SIDE = 256
_TILE = 160
Edit = Callable[[Any], Fingerprints]
Corpus = tuple[str, Kind, Sequence[Any], dict[str, Edit]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class NearDuplicates:
    """Recall of edited copies and false pairs, by corpus; prints tables."""

    samples: Path
    """What `imp-data samples` wrote."""
    photos: Path | None = None
    """A folder of photographs, searched through; also cut into tiles of 160 pixels."""
    count: int = 300
    """Examples of a corpus at most; a third as many clips."""

    def run(self) -> None:
        for title, kind, originals, own_edits in self._corpora():
            measure(title, kind, originals, own_edits)

    def _corpora(self) -> Iterator[Corpus]:
        if self.photos is not None:
            photos = list(_photos(self.photos))
            yield of_pictures("photographs", photos)
            yield of_pictures("tiles of photographs", _chosen(_tiles(photos), self.count))
        for name, pattern in (("emoji", "*/*/*.png"), ("icons", "images/*.png")):
            paths = _chosen(sorted((self.samples / name).glob(pattern)), self.count)
            yield of_pictures(name, [Image.open(path).convert("RGB") for path in paths])
        paths = _chosen(sorted((self.samples / "games").glob("clips/*.mp4")), self.count // 3)
        yield _clips([path.read_bytes() for path in paths])
        paths = _chosen(sorted((self.samples / "instruments").glob("*/*/*")), self.count)
        yield _sounds([soundfile.read(path) for path in paths])
        with open(self.samples / "icons" / "manifest.csv", newline="") as file:
            captions = sorted({row["caption"] for row in csv.DictReader(file)})
        yield _texts(_chosen(captions, self.count))


def found_pairs(
    copies: Fingerprints, originals: Fingerprints | None, kind: Kind
) -> set[tuple[int, int]]:
    """(copy, original) that are alike; without originals, (i, j) of the copies, i < j."""
    comparison = COMPARISONS[kind]
    columns = comparison.num_columns
    chunks = [copies] if originals is None else [copies, originals]
    pairs: set[tuple[int, int]] = set()
    candidates: dict[tuple[int, int], list[np.ndarray]] = {}
    for band in range(lsh.num_bands(columns)):
        buckets = [
            lsh.bucket(
                chunk,
                band,
                num_columns=columns,
                chunk=number,
                roles=np.full(chunk.num_items, lsh.STAYS if number else lsh.NEW, np.uint8),
            )
            for number, chunk in enumerate(chunks)
        ]
        within = originals is None
        for key, rows in lsh.collisions(buckets, within=within, exact=columns > 0):
            candidates.setdefault(key, []).append(rows)
    for (query, index), parts in candidates.items():
        items, _ = alike(chunks[query], chunks[index], np.concatenate(parts), comparison)
        for left, right in items.tolist():
            pairs.add((right, left) if query > index else (left, right))
    return {(min(p), max(p)) for p in pairs} if originals is None else pairs


def measure(
    title: str,
    kind: Kind,
    originals: Sequence[Any],
    own_edits: dict[str, Edit],
) -> None:
    """Prints a corpus's table; `own_edits` hold "as it is" too."""
    known = _joined(own_edits["as it is"], originals, title)
    count = len(originals)
    twins = found_pairs(known, None, kind)
    alike_others = len({item for pair in twins for item in pair})
    share = len(twins) / (count * (count - 1) / 2)
    print(f"\n{title}: {count}, compared by {kind}, threshold {COMPARISONS[kind].threshold}")
    print(f"{len(twins)} pairs of different originals found alike: {share:.1e} of all pairs;")
    print(f"{alike_others} originals are in such a pair")
    print("\n| edit | recall | precision |\n| --- | ---: | ---: |")
    for name, edit in own_edits.items():
        if name == "as it is":
            continue
        pairs = found_pairs(_joined(edit, originals, f"{title}: {name}"), known, kind)
        right = sum(copy == original for copy, original in pairs)
        print(f"| {name} | {right / count:.3f} | {right / max(1, len(pairs)):.3f} |", flush=True)


def _joined(edit: Edit, originals: Sequence[Any], title: str) -> Fingerprints:
    return fingerprints.join([edit(one) for one in tqdm(originals, desc=title, disable=None)])


def of_pictures(title: str, pictures: Sequence[Image.Image]) -> Corpus:
    rng = np.random.default_rng(0)
    made: dict[str, Edit] = {"as it is": lambda one: _of_bytes(edits.png(one), "image")}
    for name, edit in edits.PICTURE.items():
        made[name] = _after(edit, "image", rng)
    return title, "image", pictures, made


def _clips(clips: Sequence[bytes]) -> Corpus:
    made: dict[str, Edit] = {"as it is": lambda one: _of_bytes(one, "video")}
    for name, edit in CLIP.items():
        made[name] = _after(edit, "video")
    return "games", "video", clips, made


def _sounds(recordings: Sequence[tuple[np.ndarray, int]]) -> Corpus:
    rng = np.random.default_rng(0)
    made: dict[str, Edit] = {"as it is": lambda one: _of_bytes(edits.wav(*one), "audio")}
    for name, edit in edits.SOUND.items():
        made[name] = functools.partial(_sound_after, edit, rng)
    return "instruments", "audio", recordings, made


def _texts(captions: Sequence[str]) -> Corpus:
    rng = np.random.default_rng(0)
    made: dict[str, Edit] = {"as it is": lambda one: minhash.of_texts([one])}
    for name, edit in edits.TEXT.items():
        made[name] = functools.partial(_text_after, edit, rng)
    return "captions of icons", "text", captions, made


def _after(edit: Callable[..., bytes], kind: Kind, *rng: np.random.Generator) -> Edit:
    return lambda one: _of_bytes(edit(one, *rng), kind)


def _sound_after(
    edit: Callable[..., bytes], rng: np.random.Generator, one: tuple[np.ndarray, int]
) -> Fingerprints:
    return _of_bytes(edit(*one, rng), "audio")


def _text_after(edit: Callable[..., str], rng: np.random.Generator, one: str) -> Fingerprints:
    return minhash.of_texts([edit(one, rng)])


def _of_bytes(data: bytes, kind: Kind) -> Fingerprints:
    return kinds.of_bytes(data, kind, limits=DEFAULT_LIMITS)


def _chosen(values: Sequence[Any], count: int) -> list[Any]:
    order = np.random.default_rng(0).permutation(len(values))
    return [values[i] for i in order[:count]]


def _photos(folder: Path) -> Iterator[Image.Image]:
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in (".jpg", ".jpeg", ".png") and path.is_file():
            with Image.open(path) as picture:
                if min(picture.size) >= _PHOTO_SIDE:
                    yield picture.convert("RGB")


def _tiles(photos: Sequence[Image.Image]) -> list[Image.Image]:
    return [
        photo.crop((x, y, x + _TILE, y + _TILE))
        for photo in photos
        for y in range(0, photo.height - _TILE + 1, _TILE)
        for x in range(0, photo.width - _TILE + 1, _TILE)
    ]
