"""Meshes: what fits them, and where parameters lie; expert_parallel_test has what they compute."""

import dataclasses

import jax
import numpy as np
import pytest
from jax.sharding import AbstractMesh, AxisType
from jax.sharding import PartitionSpec as P

from imp_model import sharding
from imp_model.bundle import flatten
from imp_model.config import size
from imp_model.model import Model


def abstract_mesh(*sizes):
    return AbstractMesh(sizes, sharding.AXES, axis_types=(AxisType.Auto,) * 4)


def test_every_parameter_of_an_abstract_model_has_its_place():
    config = size("imp-moe-b")
    model = Model.abstract(config, pairs=[("image", "text")], classifiers={"animals": 3})
    placed = sharding.shardings(abstract_mesh(4, 2, 4, 2), model)
    found = {name: at.spec for name, at in flatten(placed.parts).items()}
    assert list(found) == list(flatten(model.parts))
    want = {
        "encoder/moe/ffn/up": P(None, "expert", "fsdp", "model"),
        "encoder/moe/ffn/down": P(None, "expert", "model", "fsdp"),
        "encoder/moe/ffn/router/kernel": P(None, "fsdp", None),
        "encoder/moe/attention/qkv/kernel": P(None, "fsdp", "model"),
        "encoder/dense/attention/out/kernel": P(None, "model", "fsdp"),
        "encoder/dense/ffn/down/kernel": P(None, "model", "fsdp"),
        "encoder/dense/ffn_norm/scale": P(None, None),
        "embedder/text/table": P(None, "fsdp"),
        "temperature/image-text/log_scale": P(),
        "classifier/animals/kernel": P("fsdp", None),
    }
    assert {name: found[name] for name in want} == want
    for name, leaf in flatten(model.parts).items():
        # Raises where an axis does not divide its dimension.
        flatten(placed.parts)[name].shard_shape(leaf.shape)


@pytest.mark.parametrize(
    ("sizes", "said"),
    [
        ({"data": 3}, r"mesh data=3 .* is of 3 devices, of 8 that there are; data=8 would do"),
        ({"fsdp": 3}, r"fsdp=3 .* of 3 devices, of 8 .*; fsdp x expert x model must divide 8"),
        ({"data": 2, "expert": 2}, r"is of 4 devices, of 8 .*; data=4 would do"),
        ({"model": 0}, r"model=0: sizes must be at least 1"),
        ({"expert": 8}, r"expert=8 does not divide num_experts 4; one of 1, 2, 4 would"),
        ({"model": 4}, r"model=4 does not divide num_heads 6; one of 1, 2, 3, 6 would"),
    ],
)
def test_a_mesh_that_does_not_fit_is_refused(sizes, said):
    with pytest.raises(ValueError, match=said) as error:
        sharding.make_mesh(size("imp-moe-s"), devices=jax.devices() * 8, **sizes)
    assert "\n" not in str(error.value)


def test_a_dense_model_has_no_experts_to_spread():
    with pytest.raises(ValueError, match="expert=2, but the model has no MoE layer; expert=1"):
        sharding.make_mesh(size("imp-s"), expert=2, devices=jax.devices() * 8)


def shapes(config, batch):
    model = Model.abstract(config, pairs=[])
    image = jax.ShapeDtypeStruct((batch, 16, 16, 3), np.uint8)
    return jax.eval_shape(lambda model, x: model.encode({"image": x})[0], model, image)


def test_a_batch_or_a_group_that_does_not_fit_is_refused(config):
    with jax.sharding.use_abstract_mesh(abstract_mesh(2, 1, 2, 1)):
        assert shapes(config, 4)["image"].shape == (4, config.width)
        with pytest.raises(ValueError, match=r"image: a batch of 6 .* = 4 devices; 4 or 8 can"):
            shapes(config, 6)
        mixing = dataclasses.replace(config, routing_group="batch")
        with pytest.raises(ValueError, match=r"routing_group 'batch' mixes examples.* 4 devices"):
            shapes(mixing, 4)
    with jax.sharding.use_abstract_mesh(abstract_mesh(1, 1, 1, 2)):
        shapes(mixing, 4)


def test_another_mesh_is_none_of_ours(config):
    with jax.sharding.use_abstract_mesh(AbstractMesh((2,), ("x",), axis_types=(AxisType.Auto,))):
        assert sharding.current() is None
        shapes(config, 3)
