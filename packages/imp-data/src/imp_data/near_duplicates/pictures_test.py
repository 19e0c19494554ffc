"""Edited copies of real drawings of Pillow's are found; others, however similar, are not."""

import io

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageEnhance, ImageOps

from imp_data.near_duplicates import dct_hash, fingerprints, kinds, pictures
from imp_data.near_duplicates.alike import alike


def scene(seed):
    """A sky, a ground, and some things of its own."""
    rng = np.random.default_rng(seed)
    picture = Image.new("RGB", (160, 120), tuple(rng.integers(120, 256, 3).tolist()))
    pen = ImageDraw.Draw(picture)
    pen.rectangle((0, 60 + seed % 40, 160, 120), fill=tuple(rng.integers(0, 140, 3).tolist()))
    for _ in range(7):
        x, y = rng.integers(0, 130), rng.integers(0, 95)
        w, h = rng.integers(12, 60, 2)
        shape = pen.ellipse if rng.random() < 0.5 else pen.rectangle
        shape((x, y, x + w, y + h), fill=tuple(rng.integers(0, 256, 3).tolist()))
    return picture


def encoded(picture, **options):
    out = io.BytesIO()
    picture.save(out, **options)
    return Image.open(io.BytesIO(out.getvalue())).convert("RGB")


EDITS = {
    "jpeg": lambda p: encoded(p, format="JPEG", quality=40),
    "half": lambda p: p.resize((80, 60)),
    "squeezed": lambda p: p.resize((96, 96)),
    "crop": lambda p: p.crop((13, 2, 157, 110)),
    "colours": lambda p: Image.fromarray(
        np.clip(np.asarray(p) * [0.85, 1.0, 1.15] + [9, 0, -9], 0, 255).astype(np.uint8)
    ),
    "light": lambda p: ImageEnhance.Brightness(p).enhance(0.75),
    "grey": lambda p: p.convert("L").convert("RGB"),
    "mirrored": ImageOps.mirror,
    "several": lambda p: encoded(ImageOps.mirror(p).crop((3, 5, 147, 113)), format="WEBP"),
}


def joined(some):
    return fingerprints.join([pictures.of_picture(picture) for picture in some])


def pairs_alike(a, b):
    """Pairs of items, by the hashes' distance alone: no bands."""
    pairs = np.bitwise_count(a.query[:, None, :, None] ^ b.index[None, :, None, :])
    near = np.stack(np.nonzero(pairs <= dct_hash.MAX_DISTANCE), axis=1)
    items, _ = alike(a, b, near, kinds.COMPARISONS["image"])
    return {tuple(pair) for pair in items.tolist()}


@pytest.fixture(scope="module")
def scenes():
    return [scene(seed) for seed in range(40)]


@pytest.mark.parametrize("name", EDITS)
def test_edited_copies_are_alike_and_nothing_else_is(scenes, name):
    originals, copies = joined(scenes), joined([EDITS[name](picture) for picture in scenes])
    found = pairs_alike(copies, originals)
    found |= {(copy, original) for original, copy in pairs_alike(originals, copies)}
    assert found == {(i, i) for i in range(len(scenes))}


def test_twins_in_another_colour_or_but_for_one_detail_are_not_alike():
    def badge(colour, mark):
        picture = Image.new("RGB", (120, 120), (240, 240, 240))
        pen = ImageDraw.Draw(picture)
        pen.ellipse((15, 15, 105, 105), fill=colour)
        pen.rectangle((45, 30, 75, 38), fill="black")
        if mark:
            pen.rectangle((52, 50, 68, 90), fill="black")
        return picture

    red, blue, marked = (
        joined([badge(*which)])
        for which in (((220, 40, 40), False), ((60, 60, 220), False), ((220, 40, 40), True))
    )
    assert pairs_alike(red, red) == {(0, 0)}
    assert pairs_alike(red, blue) == pairs_alike(red, marked) == set()


def test_blank_pictures_have_no_rows_and_square_ones_have_one():
    assert len(pictures.of_picture(Image.new("RGB", (50, 50), "red")).owner) == 0
    assert len(pictures.of_picture(scene(0)).owner) == 2
    assert len(pictures.of_picture(scene(0).resize((64, 64))).owner) == 1


def test_still_frames_count_once():
    frames = np.stack([np.asarray(scene(seed).resize((48, 48))) for seed in (0, 0, 1, 1, 0)])
    assert len(pictures.of_frames(frames).owner) == 3


def test_a_mirror_image_has_the_mirrored_hash():
    patches = pictures._grey(joined([scene(3)]).detail)
    mirrored = np.ascontiguousarray(patches[:, :, ::-1])
    hashes = dct_hash.queries(patches)
    assert (dct_hash.plain(mirrored) == hashes[:, 1]).all()
    assert (dct_hash.crops(patches)[:, 0] == hashes[:, 0]).all()
