"""Tubelets, dilated positions, images as tiled videos, and DropToken."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from imp_model.drop_token import kept_indices, num_kept
from imp_model.embed_audio import AudioEmbedder
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


@pytest.mark.parametrize("shape", [(1, 3, 8, 8, 3), (1, 4, 9, 8, 3), (1, 4, 8, 9, 3)])
def test_a_size_that_patches_do_not_divide_is_quoted(shape):
    with pytest.raises(ValueError, match=str(shape[1:4]).replace("(", r"\(").replace(")", r"\)")):
        tubelets(jnp.zeros(shape, jnp.uint8), (4, 8, 8))


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
