"""The gathered MoE layer against the one-hot einsum of V-MoE, values and gradients."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from imp_model.init import Init
from imp_model.moe import MoE


def one_hot_moe(weights, x, mask, capacity):
    """Dispatch and combine as products with [g, e, c, n] one-hot tensors."""
    router, up, down = weights
    probs = jax.nn.softmax(x @ router, axis=-1)
    ranked = jnp.where(mask[..., None], probs, -1.0).transpose(0, 2, 1)
    order = jnp.argsort(-ranked, axis=-1)[..., :capacity]
    dispatch = jax.nn.one_hot(order, x.shape[1]) * mask[:, None, None, :]
    combine = jnp.einsum("gecn,gne->gecn", dispatch, probs)
    taken = jnp.einsum("gecn,gnd->egcd", dispatch, x)
    hidden = jax.nn.gelu(jnp.einsum("egcd,edf->egcf", taken, up), approximate=True)
    out = jnp.einsum("egcf,efd->egcd", hidden, down)
    return jnp.einsum("gecn,egcd->gnd", combine, out)


@settings(max_examples=3, deadline=None, derandomize=True)
@given(
    groups=st.integers(1, 3),
    tokens=st.integers(1, 7),
    experts=st.integers(2, 3),
    grouping=st.sampled_from(["example", "batch"]),
    seed=st.integers(0, 99),
)
def test_equals_the_one_hot_layer(config, groups, tokens, experts, grouping, seed):
    config = dataclasses.replace(config, num_experts=experts, routing_group=grouping)
    rng = np.random.default_rng(seed)
    x = rng.normal(0, 1, (groups, tokens, config.width)).astype(np.float32)
    mask = rng.random((groups, tokens)) < 0.8
    direction = rng.normal(0, 1, x.shape).astype(np.float32)
    layer = MoE(config, Init.seeded(seed, "moe"))
    # The initial router is nearly uniform: a decided one tells right gates from wrong.
    layer.router.kernel[...] = layer.router.kernel[...] * 50
    weights = (layer.router.kernel[...], layer.up[...], layer.down[...])

    def ours(layer, x):
        y = layer(x, jnp.asarray(mask))[0]
        return (y * direction).sum(), y

    def oracle(weights, x):
        rows, valid = x, jnp.asarray(mask)
        if grouping == "batch":
            rows, valid = x.reshape(1, -1, x.shape[-1]), valid.reshape(1, -1)
        y = one_hot_moe(weights, rows, valid, config.capacity(rows.shape[1])).reshape(x.shape)
        return (y * direction).sum(), y

    (_, y), (got, got_x) = jax.jit(jax.value_and_grad(ours, (0, 1), has_aux=True))(layer, x)
    (_, y0), (want, want_x) = jax.jit(jax.value_and_grad(oracle, (0, 1), has_aux=True))(weights, x)
    got = (got.router.kernel[...], got.up[...], got.down[...])
    assert float(jnp.abs(y0).max()) > 0 or not mask.any()
    for a, b in zip((y, got_x, *got), (y0, want_x, *want), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def test_a_token_that_no_expert_took_and_padding_yield_zero(config):
    config = dataclasses.replace(config, capacity_factor=0.5)
    layer = MoE(config, Init.seeded(0, "moe"))
    x = np.random.default_rng(0).normal(size=(1, 8, config.width)).astype(np.float32)
    mask = np.arange(8)[None] < 7
    index, _, metrics = layer.router(jnp.asarray(x), jnp.asarray(mask))
    y = np.asarray(layer(jnp.asarray(x), jnp.asarray(mask))[0])
    taken = set(np.asarray(index).ravel().tolist())
    assert len(taken) <= 4
    for n in range(8):
        assert y[0, n].any() == (n in taken)
    np.testing.assert_allclose(metrics["dropped_tokens"], [1 - len(taken) / 7], rtol=1e-6)
