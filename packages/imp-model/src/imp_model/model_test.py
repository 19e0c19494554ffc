"""What an embedding depends on, and which parts a computation reads."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from imp_model.bundle import flatten
from imp_model.conftest import CLASSIFIERS, PAIRS
from imp_model.encoder import Encoder
from imp_model.init import Init
from imp_model.model import Model, parts_for


@pytest.fixture(scope="module")
def encode():
    return jax.jit(lambda model, inputs: model.encode(inputs)[0])


def test_an_embedding_does_not_depend_on_its_neighbours(model, inputs, encode):
    """Bit for bit, in one compiled shape, at any place of the batch."""
    pair = {"image": inputs["image"], "text": inputs["text"]}
    alone = encode(model, pair)
    rng = np.random.default_rng(9)
    for place in range(4):
        others = {
            "image": rng.integers(0, 256, pair["image"].shape, np.uint8),
            "text": rng.integers(0, 50, pair["text"].shape).astype(np.int32),
        }
        for modality, values in others.items():
            values[place] = pair[modality][place]
        mixed = encode(model, others)
        for modality in pair:
            np.testing.assert_array_equal(mixed[modality][place], alone[modality][place])
            assert not np.array_equal(mixed[modality][place - 1], alone[modality][place - 1])


def test_a_group_across_examples_does_mix_them(config, inputs):
    """The paper's released routing: why it isn't the default, and that the test above can fail."""
    mixing = Model.create(
        dataclasses.replace(config, routing_group="batch", capacity_factor=0.5), pairs=[]
    )
    encode = jax.jit(lambda model, image: model.encode({"image": image})[0]["image"])
    others = inputs["image"].copy()
    others[1:] = others[0]
    before, after = encode(mixing, inputs["image"]), encode(mixing, others)
    assert not np.array_equal(before[0], after[0])


def test_modalities_encoded_jointly_equal_separate_ones(model, inputs):
    """Image, audio and a text of 4 tokens with padding pass the encoder as one batch."""
    inputs = {k: inputs[k] for k in ("image", "audio")} | {"text": inputs["text"][:, :4]}
    encode = jax.jit(lambda m, x: m.encode(x))
    joint, metrics = encode(model, inputs)
    assert {name.split("/")[0] for name in metrics} == set(inputs)
    for modality in ("image", "text"):
        alone, own = encode(model, {modality: inputs[modality]})
        np.testing.assert_allclose(joint[modality], alone[modality], atol=1e-5)
        assert own.keys() == {k for k in metrics if k.startswith(f"{modality}/")}
        for name, value in own.items():
            np.testing.assert_allclose(metrics[name], value, atol=1e-5)


def test_an_image_is_a_tiled_video(model, inputs, encode):
    tiled = np.repeat(inputs["image"][:, None], 4, axis=1)
    pooled = encode(model, {"image": inputs["image"], "video": tiled})
    np.testing.assert_allclose(pooled["image"], pooled["video"], atol=1e-5)


@pytest.mark.parametrize("case", ["dense", "capacity for every token"])
def test_more_padding_changes_no_text(config, inputs, encode, case):
    """Where capacity binds it grows with the padded length, so a length is part of the input."""
    change = {
        "dense": {"num_moe_layers": 0, "num_experts": 1},
        "capacity for every token": {"capacity_factor": 2.0},
    }
    model = Model.create(dataclasses.replace(config, **change[case]), pairs=[])
    short = inputs["text"]
    long = np.pad(short, ((0, 0), (0, 8)))
    a, b = encode(model, {"text": short})["text"], encode(model, {"text": long})["text"]
    np.testing.assert_allclose(a, b, atol=1e-5)


def test_embeddings_are_unit_vectors_and_the_logit_scale_is_bounded(model, inputs):
    embed = jax.jit(lambda m, x: m.embed("text", x, ("text", "image")))
    embedded = embed(model, inputs["text"])
    np.testing.assert_allclose(jnp.linalg.norm(embedded, axis=1), 1, rtol=1e-5)
    scale = model.logit_scale(("text", "image"))
    np.testing.assert_allclose(scale, 1 / 0.07, rtol=1e-5)
    assert scale == model.logit_scale(("image", "text"))
    hot = Model.create(model.config, pairs=PAIRS)
    hot.parts["temperature/image-text"].log_scale[...] = jnp.float32(50)
    np.testing.assert_allclose(hot.logit_scale(("image", "text")), 100, rtol=1e-5)


def test_parts_for_is_exactly_what_a_computation_reads(model, inputs):
    rng = np.random.default_rng(0)
    directions = rng.normal(size=(4, model.config.width)).astype(np.float32)

    def score(model, image, text):
        pooled, _ = model.encode({"image": image, "text": text})
        a = model.contrast(pooled["image"], ("image", "text"))
        b = model.contrast(pooled["text"], ("text", "image"))
        classes = model.classify(pooled["image"], "animals") @ directions[:3]
        contrast = (model.logit_scale(("image", "text")) * a * b + a + b) * directions
        return contrast.sum() + (classes * directions).sum()

    names = parts_for(("image", "text"), pairs=[("image", "text")], classifier="animals")
    grads = jax.jit(jax.grad(score))(model, inputs["image"], inputs["text"])
    moved = {name: bool(np.any(value)) for name, value in flatten(grads.parts).items()}
    for name, nonzero in moved.items():
        assert nonzero == name.startswith(tuple(f"{part}/" for part in names)), name
    # And a Model of these parts alone suffices.
    jax.eval_shape(score, model.subset(names), inputs["image"], inputs["text"])


def test_create_is_deterministic_and_a_part_more_leaves_the_others(model, config):
    same = flatten(Model.create(config, pairs=PAIRS, classifiers=CLASSIFIERS, seed=1).parts)
    more = flatten(
        Model.create(
            config,
            pairs=[("audio", "text"), *PAIRS],
            classifiers={"plants": 9} | CLASSIFIERS,
            seed=1,
        ).parts
    )
    other = flatten(Model.create(config, pairs=PAIRS, classifiers=CLASSIFIERS, seed=2).parts)
    for name, value in flatten(model.parts).items():
        np.testing.assert_array_equal(value, same[name])
        np.testing.assert_array_equal(value, more[name])
        constant = name.endswith(("scale", "log_scale"))
        assert constant == np.array_equal(value, other[name]), name
    added = {name.rsplit("/kernel")[0] for name in set(more) - set(same)}
    assert {"classifier/plants", "head/audio>text/up", "head/text>audio/up"} <= added


def test_abstract_has_the_shapes_that_create_makes(model, config):
    abstract = flatten(Model.abstract(config, pairs=PAIRS, classifiers=CLASSIFIERS).parts)
    made = flatten(model.parts)
    assert {k: (v.shape, v.dtype) for k, v in abstract.items()} == {
        k: (v.shape, v.dtype) for k, v in made.items()
    }


def test_towers_have_parts_of_their_own(config, inputs):
    names = {
        "two_full": {"encoder/perception", "encoder/text"},
        "three_full": {"encoder/vision", "encoder/audio", "encoder/text"},
    }
    for towers, parts in names.items():
        model = Model.abstract(dataclasses.replace(config, towers=towers), pairs=PAIRS)
        assert {name for name in model.parts if name.startswith("encoder")} == parts
        for modality in inputs:
            read = parts_for([modality], towers=towers)
            assert len(parts & set(read)) == 1
            # And a Model of these parts alone suffices.
            alone = {modality: inputs[modality]}
            jax.eval_shape(lambda m, x: m.encode(x), model.subset(read), alone)
    with pytest.raises(
        ValueError, match="num_dense_layers 1 can't be split among 2 towers; 0 or 2"
    ):
        dataclasses.replace(config, towers="two_split")


def test_each_modality_passes_its_own_tower(model, inputs, encode):
    """As it passes a model of that one tower."""
    other = Encoder(model.config, Init.seeded(7, "encoder"))
    rest = {name: part for name, part in model.parts.items() if name != "encoder"}
    towers = Model(
        dataclasses.replace(model.config, towers="two_full"),
        rest | {"encoder/perception": model.parts["encoder"], "encoder/text": other},
    )
    # Of as many tokens: in one tower they would share a batch.
    inputs = {"image": inputs["image"], "text": inputs["text"][:, :4]}
    got = encode(towers, inputs)
    want = {
        "image": encode(model, inputs)["image"],
        "text": encode(Model(model.config, rest | {"encoder": other}), inputs)["text"],
    }
    for modality in inputs:
        np.testing.assert_allclose(got[modality], want[modality], atol=1e-5)


def test_an_unknown_modality_is_quoted(config):
    with pytest.raises(ValueError, match="'smell' is unknown; one of image"):
        Model.create(config, pairs=[("image", "smell")])
