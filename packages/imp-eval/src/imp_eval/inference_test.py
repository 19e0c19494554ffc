import dataclasses

import jax
import numpy as np
import pytest

from imp_data.views import View
from imp_eval.inference import Encoder
from imp_model import bundle


def inputs(view: View, n: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    if view.modality == "text":
        ids = rng.integers(2, 270, (n, *view.shape)).astype(np.int32)
        for row in ids:
            row[rng.integers(1, len(row)) :] = 0
        return ids
    if view.dtype == "uint8":
        return rng.integers(0, 256, (n, *view.shape)).astype(np.uint8)
    return rng.normal(-6, 5, (n, *view.shape)).astype(np.float32)


def test_an_embedding_is_bit_equal_in_every_place_and_company(encoder) -> None:
    for pair in encoder.pairs:
        view = encoder.views[pair[0]]
        one = inputs(view, 1, seed=1)
        alone = encoder.embed(pair[0], one, pair)
        for place in range(encoder.batch_size):
            company = inputs(view, encoder.batch_size + 3, seed=2 + place)
            company[place] = one[0]
            got = encoder.embed(pair[0], company, pair)
            assert got[place].tobytes() == alone[0].tobytes()
            assert got[(place + 1) % 8].tobytes() != alone[0].tobytes()


def test_embeddings_agree_with_the_model_itself(encoder, bundle_path) -> None:
    model = bundle.load(bundle_path).model
    for pair in (("image", "text"), ("text", "video")):
        arrays = inputs(encoder.views[pair[0]], 5)
        got = encoder.embed(pair[0], arrays, pair)
        direct = jax.jit(lambda x, pair=pair: model.embed(pair[0], x, pair))(arrays)
        np.testing.assert_allclose(got, direct, atol=2e-5)
        np.testing.assert_allclose(np.linalg.norm(got, axis=1), 1, rtol=1e-5)
        assert encoder.logit_scale(pair) == pytest.approx(float(model.logit_scale(pair)))


def test_a_text_goes_through_the_shortest_length_that_holds_it(bundle_path, cache) -> None:
    """Whatever it came with, to the bit; and every length computes the same function."""
    loaded = bundle.load(bundle_path)
    several = Encoder(loaded, batch_size=4, text_lengths=(4, 8, 512))
    assert several.text_lengths == (4, 8, 12)
    one = Encoder(loaded, batch_size=4, text_lengths=())
    assert one.text_lengths == (12,)
    rng = np.random.default_rng(0)
    texts = np.zeros((24, 12), np.int32)
    for number, row in enumerate(texts):
        row[: 1 + number % 12] = rng.integers(1, 270, 1 + number % 12)
    pair = ("text", "image")
    got = several.embed("text", texts, pair)
    np.testing.assert_allclose(got, one.embed("text", texts, pair), atol=2e-5)
    for row, want in zip(texts, got, strict=True):
        cut = several.cut("text", row)
        assert len(cut) == min(n for n in (4, 8, 12) if n >= (row != 0).sum())
        assert several.embed("text", cut[None], pair)[0].tobytes() == want.tobytes()
    shuffled = rng.permutation(24)
    assert several.embed("text", texts[shuffled], pair).tobytes() == got[shuffled].tobytes()
    with pytest.raises(ValueError, match="text length 0 must be at least 1"):
        Encoder(loaded, text_lengths=(0,))


def test_any_number_of_rows(encoder) -> None:
    view, pair = encoder.views["image"], ("image", "text")
    many = inputs(view, 17)
    got = encoder.embed("image", many, pair)
    assert got.shape == (17, encoder.dim)
    assert got.dtype == np.float32
    for n in (0, 1, 8, 9):
        assert encoder.embed("image", many[:n], pair).tobytes() == got[:n].tobytes()


def test_wrong_arrays_and_pairs_are_refused(encoder) -> None:
    good = inputs(encoder.views["image"], 2)
    with pytest.raises(ValueError, match="no embedding of image for the pair"):
        encoder.embed("image", good, ("image", "audio"))
    with pytest.raises(ValueError, match="no embedding of text"):
        encoder.embed("text", good, ("image", "text"))
    with pytest.raises(ValueError, match=r"uint8\[n, 32, 32, 3\]"):
        encoder.embed("image", good.astype(np.float32), ("image", "text"))
    with pytest.raises(ValueError, match="view image-32"):
        encoder.embed("image", good[:, :16], ("image", "text"))


def test_a_bundle_that_routes_across_the_batch_is_served_one_by_one(bundle_path) -> None:
    loaded = bundle.load(bundle_path)
    config = dataclasses.replace(loaded.config, routing_group="batch")
    loaded = dataclasses.replace(loaded, config=config)
    with pytest.raises(ValueError, match="use batch size 1"):
        Encoder(loaded, batch_size=8)
    assert Encoder(loaded, batch_size=1).batch_size == 1


def test_a_bundle_without_views_for_its_pairs_is_refused(bundle_path) -> None:
    loaded = bundle.load(bundle_path)
    only_text = dataclasses.replace(loaded, views={"text": loaded.views["text"]})
    with pytest.raises(ValueError, match="compares no two modalities"):
        Encoder(only_text)
