"""icons: Material Design icons of mkdocs-material, drawn by resvg; the caption is the name."""

import functools
import io
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

from imp_data.samples import colours
from imp_data.samples.corpus import Chunk, Corpus, Row, cut, rng_of, split_seed
from imp_data.samples.manifests import write_csv

SIDE = 128
NUM_TEST = 500
VARIANTS_PER_NAME = 1
_PATH_DATA = re.compile(r'\sd="([^"]*)"')


@functools.cache
def icon_folder() -> Path:
    import material

    return Path(material.__path__[0]) / "templates" / ".icons" / "material"


def hold_out(drawings: dict[str, str], count: int) -> list[str]:
    """Names to test on, of name -> path data: the same ones whatever the seed.

    A drawing that goes by two names is never held out, and every word of a held-out name is left
    in some name that is trained on.
    """
    names_of: defaultdict[str, list[str]] = defaultdict(list)
    for name, data in drawings.items():
        names_of[data].append(name)
    candidates = sorted(names[0] for names in names_of.values() if len(names) == 1)
    uses = Counter(word for name in drawings for word in set(name.split("-")))
    held: list[str] = []
    for index in rng_of("icons", "held out").permutation(len(candidates)):
        name = candidates[index]
        words = set(name.split("-"))
        if len(held) < count and all(uses[word] > 1 for word in words):
            held.append(name)
            uses.subtract(words)
    return held


def plan(seed: int, limit: int | None) -> list[Chunk]:
    drawings = {
        path.stem: " ".join(_PATH_DATA.findall(path.read_text("utf-8")))
        for path in sorted(icon_folder().glob("*.svg"))
    }
    drawings = {name: data for name, data in drawings.items() if data}
    test = set(hold_out(drawings, NUM_TEST))
    items = {
        "train": [
            (n, k, "train") for n in drawings if n not in test for k in range(VARIANTS_PER_NAME)
        ],
        "test": [(n, 0, "test") for n in drawings if n in test],
    }
    return [chunk for some in items.values() for chunk in cut(some[:limit], 250, seed)]


def draw(name: str, variant: int, seed: int) -> bytes:
    """The icon as a PNG of [128, 128, 3]: its size, place and colours are random."""
    import resvg_py
    from PIL import Image

    rng = rng_of("icons", seed, name, variant)
    size = int(rng.integers(92, 117))
    ink, paper = colours.draw_ink(rng), colours.draw_paper(rng)
    room = SIDE - size
    left, top = (int(rng.integers(room // 4, room - room // 4 + 1)) for _ in range(2))
    drawing = resvg_py.svg_to_bytes(
        svg_path=str(icon_folder() / f"{name}.svg"),
        width=size,
        height=size,
        skip_system_fonts=True,
    )
    with Image.open(io.BytesIO(drawing)) as opened:
        mask = opened.getchannel("A")
    image = Image.new("RGB", (SIDE, SIDE), paper)
    image.paste(ink, (left, top), mask)
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=1)
    return file.getvalue()


def write_chunk(folder: Path, chunk: Chunk) -> list[Row]:
    (folder / "images").mkdir(parents=True, exist_ok=True)
    rows = []
    for name, variant, split in chunk.items:
        path = f"images/{name}.png" if variant == 0 else f"images/{name}~{variant}.png"
        (folder / path).write_bytes(draw(name, variant, split_seed(chunk.seed, split)))
        rows.append(Row(path=path, caption=name.replace("-", " "), label=name, split=split))
    return rows


def finish(folder: Path, rows: Sequence[Row]) -> None:
    write_csv(folder, rows)


CORPUS = Corpus(
    name="icons",
    version=3,
    packages={"material": "mkdocs-material", "resvg_py": "resvg-py", "PIL": "pillow"},
    plan=plan,
    write_chunk=write_chunk,
    finish=finish,
)
