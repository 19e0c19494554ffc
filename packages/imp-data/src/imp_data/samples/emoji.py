"""emoji: Noto Color Emoji as carried by dynamic-font; the class is the Unicode group."""

import contextlib
import functools
import io
import os
import re
import tempfile
import unicodedata
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imp_data.samples import colours
from imp_data.samples.corpus import Chunk, Corpus, Row, cut, rng_of, split_seed
from imp_data.samples.manifests import write_nothing

if TYPE_CHECKING:
    from PIL import Image

SIDE = 128
TEST_SHARE = 0.13
# The font draws country flags as boxed letters and keycaps in two parts.
_BROKEN_GROUP = "Flags"
_BROKEN_NAME = "keycap"
_PEOPLE = {"man", "men", "woman", "women", "person", "people", "boy", "girl", "mr", "mrs", "mx"}


def slug(name: str) -> str:
    """A file stem of lower-case ASCII words joined by '-': "Mrs. Claus" -> "mrs-claus"."""
    plain = unicodedata.normalize("NFKD", name.replace("\N{RIGHT SINGLE QUOTATION MARK}", ""))
    ascii_name = plain.encode("ascii", "ignore").decode().lower()
    return "-".join(re.findall(r"[a-z0-9]+", ascii_name))


def kin(stem: str) -> str:
    """What "man guard", "woman guard" and "guard" share: they are kept in one split."""
    words = [word for word in stem.split("-") if word not in _PEOPLE]
    return words[0] if words[:1] == ["family"] else "-".join(words) or "person"


@functools.cache
def _font() -> Any:
    # The package asks for a display, prints, and indexes this machine's fonts in the user's data
    # folder: none of it is wanted here, and the drawing uses the font that it carries.
    os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
    os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
    import dynamic_font
    import pygame

    fonts = Path(dynamic_font.__file__).parent / "assets" / "fonts"
    pygame.font.init()
    return dynamic_font.DynamicFont(
        primary_name=str(min((fonts / "fallback").glob("*.ttf"))),
        fallback_dir=str(fonts / "fallback"),
        emoji_path=str(fonts / "NotoColorEmoji-Regular.ttf"),
    )


@contextlib.contextmanager
def _font_index_elsewhere() -> Iterator[None]:
    before = os.environ.get("XDG_DATA_HOME")
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        os.environ["XDG_DATA_HOME"] = folder
        try:
            yield
        finally:
            if before is None:
                del os.environ["XDG_DATA_HOME"]
            else:
                os.environ["XDG_DATA_HOME"] = before


@functools.cache
def _warm() -> None:
    with _font_index_elsewhere():
        _font().render("\N{GRINNING FACE}", size=16)


def render(text: str, size: int) -> "Image.Image":
    """The drawing, RGBA, cropped to its ink (an empty image where there is none)."""
    _warm()
    import pygame
    from PIL import Image

    surface = _font().render(text, size=size)
    image = Image.frombytes("RGBA", surface.get_size(), pygame.image.tobytes(surface, "RGBA"))
    return image.crop(image.getbbox() or (0, 0, 0, 0))


def catalogue() -> list[tuple[str, str, str]]:
    """(group, stem, text) of each emoji that the font draws as one picture of its own."""
    import pymdownx.gemoji_db

    found: dict[str, tuple[str, str, str]] = {}
    drawn = set()
    for entry in pymdownx.gemoji_db.emoji.values():
        group, name = entry.get("category", _BROKEN_GROUP), entry["name"]
        if group == _BROKEN_GROUP or name.startswith(_BROKEN_NAME):
            continue
        codes = entry.get("unicode_alt", entry["unicode"])
        text = "".join(chr(int(code, 16)) for code in codes.split("-"))
        picture = render(text, 32)
        pixels = (picture.size, picture.tobytes())
        if not 0 < picture.width <= 1.5 * 32 or pixels in drawn:
            continue
        drawn.add(pixels)
        stem = slug(name)
        found[stem] = (slug(group.replace("&", "")), stem, text)
    return sorted(found.values())


def hold_out(entries: list[tuple[str, str, str]]) -> set[str]:
    """Stems to test on, about TEST_SHARE of each group: the same ones whatever the seed."""
    groups: defaultdict[str, defaultdict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for group, stem, _ in entries:
        groups[group][kin(stem)].append(stem)
    held: set[str] = set()
    for group, families in sorted(groups.items()):
        wanted = round(TEST_SHARE * sum(map(len, families.values())))
        names = sorted(families)
        for index in rng_of("emoji", "held out", group).permutation(len(names)):
            stems = families[names[index]]
            if len(stems) <= wanted:
                held.update(stems)
                wanted -= len(stems)
    return held


def plan(seed: int, limit: int | None) -> list[Chunk]:
    entries = catalogue()
    test = hold_out(entries)
    kept: defaultdict[tuple[str, str], list[tuple[str, str, str, str]]] = defaultdict(list)
    for group, stem, text in entries:
        split = "test" if stem in test else "train"
        kept[group, split].append((group, stem, text, split))
    items = [item for some in kept.values() for item in some[:limit]]
    return cut(items, 250, seed)


def write_chunk(folder: Path, chunk: Chunk) -> list[Row]:
    from PIL import Image

    rows = []
    for group, stem, text, split in chunk.items:
        rng = rng_of("emoji", split_seed(chunk.seed, split), stem)
        picture = render(text, int(rng.integers(56, 97)))
        image = Image.new("RGB", (SIDE, SIDE), colours.draw_paper(rng))
        room = (max(SIDE - picture.width, 0), max(SIDE - picture.height, 0))
        left, top = (int(rng.integers(r // 4, r - r // 4 + 1)) for r in room)
        image.paste(picture, (left, top), picture)
        path = f"{split}/{group}/{stem}.png"
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        image.save(folder / path, compress_level=1)
        rows.append(Row(path=path, caption=stem.replace("-", " "), label=group, split=split))
    return rows


CORPUS = Corpus(
    name="emoji",
    version=3,
    packages={
        "dynamic_font": "dynamic-font",
        "pygame": "pygame-ce",
        "pymdownx": "pymdown-extensions",
        "PIL": "pillow",
    },
    plan=plan,
    write_chunk=write_chunk,
    finish=write_nothing,
)
