"""Embedders by hand: tubelets, dilated positions, images as tiled videos, and DropToken."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from imp_model.drop_token import kept_indices, num_kept
from imp_model.embed_audio import AudioEmbedder
from imp_model.embed_text import TextEmbedder
from imp_model.embed_vision import VisionEmbedder, tubelets
from imp_model.init import Init
from imp_model.positions import FactorisedPositions, TextPositions


def test_tubelets_in_the_order_of_an_explicit_loop():
    video = np.random.default_rng(0).integers(0, 256, (2, 4, 6, 8, 3), np.uint8)
    pt, ph, pw = 2, 3, 2
    want = [
        [
            video[b, t : t + pt, h : h + ph, w : w + pw].ravel()
            for t in range(0, 4, pt)
            for h in range(0, 6, ph)
            for w in range(0, 8, pw)
        ]
        for b in range(2)
    ]
    np.testing.assert_array_equal(tubelets(jnp.asarray(video), (pt, ph, pw)), want)


@pytest.mark.parametrize(
    ("shape", "fits"),
    [
        ((3, 8, 8), "(4, 8, 8) would"),
        ((4, 9, 8), "(4, 8, 8) or (4, 16, 8) would"),
        ((4, 8, 25), "(4, 8, 24) or (4, 8, 32) would"),
    ],
)
def test_a_size_that_patches_do_not_divide_is_quoted_with_what_fits(shape, fits):
    with pytest.raises(ValueError, match=re.escape(f"{shape} does not divide")) as error:
        tubelets(jnp.zeros((1, *shape, 3), jnp.uint8), (4, 8, 8))
    assert str(error.value).endswith(f"; {fits}")


def slow_tokens(embedder, patches, sizes):
    """float64 [n, d] by hand: each patch standardised and projected, plus its dilated position."""
    kernel, level = np.asarray(embedder.patch.kernel[...]), np.asarray(embedder.patch.level[...])
    scale = np.asarray(embedder.positions.norm.scale[...])
    places = list(np.ndindex(*sizes))
    tokens = []
    for patch, place in zip(patches, places, strict=True):
        mean, spread = patch.mean(), np.sqrt(patch.var() + embedder.patch.epsilon)
        token = (patch - mean) / spread @ kernel + 8 * (mean * level[0] + spread * level[1])
        position = np.zeros(len(token))
        for i, size, buckets, table in zip(
            place, sizes, embedder.positions.buckets, embedder.positions.tables, strict=True
        ):
            # Where i of `size` steps falls among the table's buckets.
            position += np.asarray(table[...])[int(np.floor(i / size * buckets))]
        position -= position.mean()
        position /= np.sqrt(np.square(position).mean() + 1e-6)
        tokens.append((token + position * scale) @ np.asarray(embedder.project.kernel[...]))
    return np.stack(tokens)


def test_video_and_image_tokens_by_hand(config, inputs):
    embedder = VisionEmbedder(config, Init.seeded(0, "vision"))
    pt, ph, pw = config.patch
    got = {m: jax.jit(embedder)(inputs[m]) for m in ("video", "image")}
    for b in range(2):
        still = np.repeat(inputs["image"][b][None], pt, axis=0)
        for modality, clip in (("video", inputs["video"][b]), ("image", still)):
            frames, height, width, _ = clip.shape
            patches = [
                clip[t : t + pt, y : y + ph, x : x + pw].ravel() / 127.5 - 1
                for t in range(0, frames, pt)
                for y in range(0, height, ph)
                for x in range(0, width, pw)
            ]
            want = slow_tokens(embedder, patches, (frames // pt, height // ph, width // pw))
            np.testing.assert_allclose(got[modality][b], want, rtol=1e-4, atol=1e-4)


def test_sound_tokens_by_hand(config, inputs):
    embedder = AudioEmbedder(config, Init.seeded(0, "audio"))
    pt, pf = config.audio_patch
    got = jax.jit(embedder)(inputs["audio"])
    for b in range(2):
        sound = (inputs["audio"][b].astype(np.float64) + 6) / 5
        frames, mels = sound.shape
        patches = [
            sound[t : t + pt, f : f + pf].ravel()
            for t in range(0, frames, pt)
            for f in range(0, mels, pf)
        ]
        want = slow_tokens(embedder, patches, (frames // pt, mels // pf))
        np.testing.assert_allclose(got[b], want, rtol=1e-4, atol=1e-4)


def test_text_tokens_by_hand(config, inputs):
    embedder = TextEmbedder(config, Init.seeded(0, "text"))
    got = jax.jit(embedder)(inputs["text"])
    table, places = np.asarray(embedder.table[...]), np.asarray(embedder.positions.table[...])
    for b, ids in enumerate(inputs["text"]):
        for i, piece in enumerate(ids):
            place = places[i] - places[i].mean()
            place = place / np.sqrt(np.square(place).mean() + 1e-6)
            want = (table[piece] + place) @ np.asarray(embedder.project.kernel[...])
            np.testing.assert_allclose(got[b, i], want, rtol=1e-4, atol=1e-4)


def test_an_image_is_not_tiled_in_memory(config, inputs):
    """No value of the program is as large as the pixels of the tiled image."""
    embedder = VisionEmbedder(config, Init.seeded(0, "vision"))
    images = np.zeros((64, 16, 16, 3), np.uint8)
    largest = 0

    def widest(jaxpr):
        nonlocal largest
        for eqn in jaxpr.eqns:
            largest = max(largest, *(var.aval.size for var in eqn.outvars))
            for value in eqn.params.values():
                if hasattr(inner := getattr(value, "jaxpr", value), "eqns"):
                    widest(inner)

    widest(jax.make_jaxpr(embedder)(images).jaxpr)
    assert largest == images.size


def test_twice_the_resolution_spans_the_same_table():
    """512 x 512 pixels have 32 x 32 patches of 16, 256 x 256 have 16 x 16: every second bucket."""
    positions = FactorisedPositions((1, 32, 32), 8, Init.seeded(0, "positions"))
    fine = np.asarray(jax.jit(lambda p: p((1, 32, 32)))(positions)).reshape(32, 32, 8)
    coarse = np.asarray(jax.jit(lambda p: p((1, 16, 16)))(positions)).reshape(16, 16, 8)
    np.testing.assert_allclose(fine[::2, ::2], coarse, atol=1e-6)


def test_an_image_is_one_frame_tiled(config, inputs):
    embedder = jax.jit(VisionEmbedder(config, Init.seeded(0, "vision")))
    tiled = np.repeat(inputs["image"][:, None], config.patch[0], axis=1)
    np.testing.assert_allclose(embedder(inputs["image"]), embedder(tiled), atol=1e-5)


def test_dilated_positions_span_the_table_at_every_resolution():
    positions = FactorisedPositions((1, 8, 4), 16, Init.seeded(0, "positions"))
    t, h, w = (np.asarray(table[...]) for table in positions.tables)

    def by_hand(rows, columns):
        total = np.stack([t[0] + h[i] + w[j] for i in rows for j in columns])
        total = total - total.mean(-1, keepdims=True)
        return total / np.sqrt(np.square(total).mean(-1, keepdims=True) + 1e-6)

    full, coarse = positions((1, 8, 4)), positions((1, 2, 2))
    np.testing.assert_allclose(full, by_hand(range(8), range(4)), atol=1e-5)
    # Half-way through the input is half-way through the table.
    np.testing.assert_allclose(coarse, by_hand([0, 4], [0, 2]), atol=1e-5)
    np.testing.assert_allclose(positions((1, 3, 1)), by_hand([0, 2, 5], [0]), atol=1e-5)
    with pytest.raises(ValueError, match=r"\(1, 9, 4\)"):
        positions((1, 9, 4))


def test_text_positions_are_not_dilated():
    positions = TextPositions(8, 16, Init.seeded(0, "positions"))
    np.testing.assert_array_equal(positions(8)[:3], positions(3))
    with pytest.raises(ValueError, match="text length 9"):
        positions(9)


@pytest.mark.parametrize(
    ("kind", "modality"), [(VisionEmbedder, "video"), (AudioEmbedder, "audio")]
)
def test_dropped_tokens_are_the_others_at_their_own_positions(config, inputs, kind, modality):
    embedder, key = kind(config, Init.seeded(0, modality)), jax.random.key(5)
    whole = np.asarray(jax.jit(embedder)(inputs[modality]))
    kept = jax.jit(lambda e, x: e(x, drop=0.5, key=key))(embedder, inputs[modality])
    index = np.asarray(kept_indices(key, 4, 4, 0.5))
    np.testing.assert_allclose(kept, np.take_along_axis(whole, index[..., None], 1), atol=1e-5)


def test_drop_token_keeps_sorted_distinct_indices_drawn_per_example():
    index = np.asarray(kept_indices(jax.random.key(0), 6, 64, 0.75))
    assert index.shape == (6, 16)
    assert (np.diff(index, axis=1) > 0).all()
    assert index.min() >= 0
    assert index.max() < 64
    assert len({row.tobytes() for row in index}) == 6
    assert len(np.unique(index)) > 40  # Not always the same places.


def test_at_least_one_token_is_kept_and_a_bad_ratio_is_quoted():
    assert [num_kept(1, 0.75), num_kept(16, 0.75), num_kept(16, 0.0)] == [1, 4, 16]
    for ratio in (1.0, -0.1, 75):
        with pytest.raises(ValueError, match=str(ratio)):
            num_kept(16, ratio)
