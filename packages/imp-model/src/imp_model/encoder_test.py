"""The stack, layer by layer by hand, and that scanning and rematerialisation change no number."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from imp_model.block import Block
from imp_model.encoder import Encoder
from imp_model.init import Init


@pytest.fixture(scope="module")
def deep(config):
    return dataclasses.replace(config, num_dense_layers=2, num_moe_layers=2)


@pytest.fixture(scope="module")
def x(config):
    return np.random.default_rng(0).normal(size=(2, 5, config.width)).astype(np.float32)


MASK = np.array([[True] * 5, [True, True, False, True, False]])


def by_hand(encoder, config, x, order):
    """One block after another, as `order` says, each with its slice of the stacks."""
    metrics = []
    for stack, i in order:
        layer = jax.tree.map(lambda leaf, i=i: leaf[i], getattr(encoder, stack))
        assert isinstance(layer, Block)
        x, found = layer(x, jnp.asarray(MASK))
        metrics += [found] if found else []
    return encoder.norm(x), jax.tree.map(lambda *values: jnp.stack(values), *metrics)


ORDER = {
    "last": [("dense", 0), ("dense", 1), ("moe", 0), ("moe", 1)],
    "every_second": [("dense", 0), ("moe", 0), ("dense", 1), ("moe", 1)],
}


@pytest.mark.parametrize("placement", ["last", "every_second"])
def test_every_mode_computes_the_same(deep, x, placement):
    """Values, metrics and gradients of the layers by hand, to float32's rounding."""
    deep = dataclasses.replace(deep, moe_placement=placement)
    encoder = Encoder(deep, Init.seeded(0, "encoder"))
    direction = np.random.default_rng(1).normal(size=x.shape).astype(np.float32)

    def measured(run):
        def score(encoder, x):
            y, metrics = run(encoder, x)
            return (y * direction).sum(), (y, metrics)

        grad = jax.grad(score, (0, 1), has_aux=True)
        found, aux = jax.jit(grad)(encoder, x)
        return jax.tree.leaves((found, aux))

    want = measured(lambda e, x: by_hand(e, deep, x, ORDER[placement]))
    modes = [("scan", "none")]
    if placement == "last":
        modes += [("scan", "full"), ("scan", "named"), ("unroll", "none"), ("unroll", "lean")]
    for layers, remat in modes:
        config = dataclasses.replace(deep, layers=layers, remat=remat)

        def run(encoder, x, config=config):
            other = jax.tree.map(lambda leaf: leaf, encoder)
            other.config = config
            return other(x, jnp.asarray(MASK))

        for a, b in zip(measured(run), want, strict=True):
            scale = np.abs(b).max() + 1e-6
            np.testing.assert_allclose(a / scale, b / scale, atol=1e-5, err_msg=f"{layers} {remat}")


def test_all_dense_and_all_moe(config, x):
    for dense, moe in ((2, 0), (0, 2)):
        some = dataclasses.replace(config, num_dense_layers=dense, num_moe_layers=moe)
        encoder = jax.eval_shape(lambda some=some: Encoder(some, Init.zeros()))
        y, metrics = jax.eval_shape(lambda e, x: e(x, None), encoder, x)
        assert y.shape == x.shape
        assert bool(metrics) == bool(moe)
        assert (encoder.dense is None, encoder.moe is None) == (not dense, not moe)


def test_noise_is_drawn_layer_by_layer_from_the_key(deep, x):
    config = dataclasses.replace(deep, router="tokens_choose", router_noise=10.0)
    encoder = Encoder(config, Init.seeded(0, "encoder"))
    run = jax.jit(lambda key: encoder(jnp.asarray(x), None, key))
    (a, metrics), (again, _) = run(jax.random.key(0)), run(jax.random.key(0))
    other, _ = run(jax.random.key(1))
    np.testing.assert_array_equal(a, again)
    assert not np.array_equal(a, other)
    entropy = np.asarray(metrics["gate_entropy"])
    assert entropy.shape == (2, 2)
    assert metrics["load_loss"].shape == (2, 2)


def test_a_row_of_nothing_but_padding_is_finite(config, x):
    encoder = Encoder(config, Init.seeded(0, "encoder"))
    mask = np.array([[True] * 5, [False] * 5])

    def score(encoder, x):
        y, _ = encoder(x, jnp.asarray(mask))
        return (y[0] ** 3).sum() + 0 * y.sum()

    for value in jax.tree.leaves(jax.jit(jax.value_and_grad(score))(encoder, x)):
        assert np.isfinite(value).all()


def test_the_policies_keep_what_they_name(deep, x):
    """Bytes kept for the backward pass, parameters aside: each policy more than the one before."""
    encoder = jax.eval_shape(lambda: Encoder(deep, Init.zeros()))
    kept = {}
    for name in ("full", "lean", "named", "products", "none"):
        encoder.config = dataclasses.replace(deep, remat=name)

        def residuals(encoder, x):
            return jax.vjp(lambda e, x: e(x, None)[0], encoder, x)[1]

        leaves = jax.tree.leaves(jax.eval_shape(residuals, encoder, jnp.asarray(x)))
        kept[name] = sum(leaf.size * leaf.dtype.itemsize for leaf in leaves)
    assert list(kept.values()) == sorted(set(kept.values()))
