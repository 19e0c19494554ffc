"""Formulas against the program: its products, what it keeps; and the paper's table of sizes."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import pytest

from imp_model.config import ModelConfig
from imp_model.costs import INPUTS, activation_bytes, describe, forward_flops, parameters
from imp_model.encoder import Encoder
from imp_model.init import Init
from imp_model.model import Model

# Millions: the paper's Table 1 and text, ViT-L's for the dense L, and the widths' own for S.
BACKBONE = {"imp-b": 86, "imp-l": 300, "imp-moe-l": 1810}
PER_TOKEN = {"imp-b": 86, "imp-moe-b": 90}


@pytest.mark.parametrize("name", ["imp-s", "imp-moe-s", "imp-b", "imp-moe-b", "imp-l", "imp-moe-l"])
def test_the_papers_table(name):
    found = describe(name)
    c, counts = found["config"], found["parameters"]
    d, f = c["width"], c["mlp"]
    dense, moe, experts = c["num_dense_layers"], c["num_moe_layers"], c["num_experts"]
    head_dim = d // c["num_heads"]
    attention = 4 * d * d + 2 * head_dim + 2 * d
    by_hand = dense * (attention + 2 * d * f) + moe * (
        attention + experts * 2 * d * f + d * experts
    )
    assert counts["backbone"] == by_hand + d
    assert counts["of which experts"] == (moe * experts * 2 * d * f if moe else 0)
    assert counts["embedders"] > c["vocab_size"] * d
    assert counts["heads"] == 6 * (2 * d * d + d) + 3
    if name in BACKBONE:
        # "300 M" is rounded from 303.
        assert counts["backbone"] == pytest.approx(BACKBONE[name] * 1e6, rel=0.02)
    if name in PER_TOKEN:
        per_token = found["parameters_per_token"]
        assert per_token["backbone"] < PER_TOKEN[name] * 1.02e6 < per_token["total"]
    if name == "imp-moe-l":
        assert found["parameters_per_token"]["total"] == pytest.approx(350e6, rel=0.02)
    assert found["memory"] == {
        "parameters": 4 * counts["total"],
        "moments": 8 * counts["total"],
    }


def products(jaxpr):
    """Multiply-adds x 2 of every product, a scan's body as often as it runs."""
    total = 0
    for eqn in jaxpr.eqns:
        if eqn.primitive.name == "dot_general":
            (contracted, _), _ = eqn.params["dimension_numbers"]
            over = math.prod(eqn.invars[0].aval.shape[i] for i in contracted)
            total += 2 * over * math.prod(eqn.outvars[0].aval.shape)
        times = eqn.params["length"] if eqn.primitive.name == "scan" else 1
        for value in eqn.params.values():
            inner = getattr(value, "jaxpr", value)
            if hasattr(inner, "eqns"):
                total += times * products(inner)
    return total


SMALL = ModelConfig(
    width=48,
    mlp=96,
    num_heads=3,
    num_dense_layers=2,
    num_moe_layers=2,
    num_experts=4,
    vocab_size=50,
)


@pytest.mark.parametrize(
    ("modality", "drop"),
    [
        (modality, drop)
        for modality in INPUTS
        for drop in (0.0, 0.75)
        if modality != "text" or not drop
    ],
)
@pytest.mark.parametrize("change", [{}, {"router": "tokens_choose"}, {"towers": "two_split"}])
def test_flops_are_the_programs_products(modality, change, drop):
    config = dataclasses.replace(SMALL, **change)
    model = Model.abstract(config, pairs=[])
    shape, batch = INPUTS[modality], 2
    dtype = {"audio": jnp.float32, "text": jnp.int32}.get(modality, jnp.uint8)
    inputs = {modality: jax.ShapeDtypeStruct((batch, *shape), dtype)}

    def encode(model, inputs, key):
        return model.encode(inputs, drop={modality: drop}, key=key)[0]

    jaxpr = jax.make_jaxpr(encode)(model, inputs, jax.random.key(0))
    assert products(jaxpr.jaxpr) == batch * forward_flops(config, modality, shape, drop=drop)


def kept_by_the_program(config, tokens):
    """Bytes of one example's residuals: what a batch of 4 keeps more than one of 3."""
    encoder = jax.eval_shape(lambda: Encoder(config, Init.zeros()))

    def residuals(encoder, x):
        return jax.vjp(lambda encoder, x: encoder(x, None)[0], encoder, x)[1]

    def total(batch):
        x = jax.ShapeDtypeStruct((batch, tokens, config.width), config.dtype)
        leaves = jax.tree.leaves(jax.eval_shape(residuals, encoder, x))
        return sum(leaf.size * leaf.dtype.itemsize for leaf in leaves)

    return total(4) - total(3)


@pytest.mark.parametrize("remat", ["none", "full", "lean", "named", "products"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("layers", [(3, 0), (2, 1)])
def test_activations_are_what_the_program_keeps(remat, dtype, layers):
    """Within 2 %: constants are left out."""
    dense, moe = layers
    config = dataclasses.replace(
        SMALL, num_dense_layers=dense, num_moe_layers=moe, dtype=dtype, remat=remat
    )
    found = activation_bytes(config, 32, remat=remat)
    if remat != "none":
        # The layer at work, which is not among what is kept.
        one = dataclasses.replace(
            config, num_dense_layers=int(not moe), num_moe_layers=int(moe > 0)
        )
        last_norm = 32 * config.width * (2 if dtype == "bfloat16" else 4)
        found -= activation_bytes(one, 32, remat="none") - last_norm
    assert found == pytest.approx(kept_by_the_program(config, 32), rel=0.02)


def test_a_token_passes_one_tower(config):
    counts = {
        towers: parameters(
            dataclasses.replace(
                SMALL, num_dense_layers=6, num_moe_layers=0, num_experts=1, towers=towers
            )
        )
        for towers in ("one", "two_split", "three_split", "two_full")
    }
    one = counts["one"]["parameters"]["backbone"]
    assert counts["two_split"]["parameters"]["backbone"] == pytest.approx(one, rel=0.01)
    assert counts["three_split"]["parameters"]["backbone"] == pytest.approx(one, rel=0.01)
    assert counts["two_full"]["parameters"]["backbone"] == 2 * one
    per_token = {name: found["parameters_per_token"]["backbone"] for name, found in counts.items()}
    assert per_token["two_full"] == per_token["one"] == one
    assert per_token["three_split"] == pytest.approx(one / 3, rel=0.02)
