"""Attention, LayerNorm and GELU against PyTorch's (a golden file) and plain NumPy."""

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from imp_model.attention import Attention
from imp_model.init import Init
from imp_model.layers import LayerNorm, gelu


def normed(x, scale):
    x = x.astype(np.float64)
    x = x - x.mean(-1, keepdims=True)
    return x / np.sqrt(np.square(x).mean(-1, keepdims=True) + 1e-6) * scale


@pytest.fixture(scope="module")
def golden():
    with np.load(Path(__file__).parent / "goldens" / "from_torch.npz") as arrays:
        return dict(arrays)


def test_attention_is_pytorchs(config, golden):
    layer = Attention(config, Init.seeded(0, "attention"))
    layer.qkv.kernel[...] = jnp.asarray(golden["qkv"])
    layer.out.kernel[...] = jnp.asarray(golden["out"])
    layer.q_norm.scale[...] = jnp.asarray(golden["q_scale"])
    layer.k_norm.scale[...] = jnp.asarray(golden["k_scale"])
    got = jax.jit(layer)(golden["x"], golden["mask"])
    np.testing.assert_allclose(got, golden["attention"], rtol=1e-4, atol=1e-5)


def test_layer_norm_and_gelu_are_pytorchs(golden):
    layer = LayerNorm(golden["x"].shape[-1], Init.seeded(0, "norm"))
    layer.scale[...] = jnp.asarray(golden["scale"])
    norm, activation = jax.jit(lambda layer, x: (layer(x), gelu(x)))(layer, golden["x"])
    np.testing.assert_allclose(norm, golden["layer_norm"], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(activation, golden["gelu"], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("qk_norm", [True, False])
def test_attention_by_its_formula(config, qk_norm):
    rng = np.random.default_rng(0)
    config = dataclasses.replace(config, qk_norm=qk_norm)
    layer = Attention(config, Init.seeded(0, "attention"))
    k = config.width // config.num_heads
    for norm in (layer.q_norm, layer.k_norm) if qk_norm else ():
        norm.scale[...] = jnp.asarray(rng.normal(1, 0.5, k), jnp.float32)
    x = rng.normal(size=(2, 5, config.width)).astype(np.float32)
    mask = np.array([[True] * 5, [True, True, False, True, False]])
    got = np.asarray(jax.jit(layer)(x, mask))

    q, k_, v = np.split(x.astype(np.float64) @ np.asarray(layer.qkv.kernel[...]), 3, axis=-1)
    heads = np.zeros_like(x, np.float64)
    for b in range(2):
        for a in range(config.num_heads):
            s = slice(a * k, (a + 1) * k)
            qs, ks = q[b, :, s], k_[b, :, s]
            if qk_norm:
                qs = normed(qs, np.asarray(layer.q_norm.scale[...]))
                ks = normed(ks, np.asarray(layer.k_norm.scale[...]))
            weights = np.exp(qs @ ks.T / np.sqrt(k)) * mask[b]
            heads[b, :, s] = weights / weights.sum(1, keepdims=True) @ v[b, :, s]
    want = heads @ np.asarray(layer.out.kernel[...])
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


def test_keys_outside_the_mask_are_never_attended_to(config):
    layer = jax.jit(Attention(config, Init.seeded(0, "attention")))
    x = np.random.default_rng(0).normal(size=(1, 4, config.width)).astype(np.float32)
    other = x.copy()
    other[0, 3] = 100
    mask = np.array([[True, True, True, False]])
    np.testing.assert_array_equal(layer(x, mask)[0, :3], layer(other, mask)[0, :3])


def test_layer_norm_and_gelu_by_their_formulas():
    rng = np.random.default_rng(0)
    x = rng.normal(3, 7, (3, 8)).astype(np.float32)
    layer = LayerNorm(8, Init.seeded(0, "norm"))
    layer.scale[...] = jnp.asarray(rng.normal(1, 1, 8), jnp.float32)
    want = normed(x, np.asarray(layer.scale[...]))
    np.testing.assert_allclose(layer(jnp.asarray(x)), want, rtol=1e-5, atol=1e-6)
    assert layer(jnp.asarray(x, jnp.bfloat16)).dtype == jnp.bfloat16
    want = 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x.astype(np.float64) ** 3)))
    np.testing.assert_allclose(gelu(jnp.asarray(x)), want, rtol=1e-5, atol=1e-6)
