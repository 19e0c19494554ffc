"""The gathered MoE layer against the one-hot einsums of V-MoE: values and gradients."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from imp_model.init import Init
from imp_model.kernels.reference import one_hot_moe
from imp_model.moe import MoE


@settings(max_examples=2, deadline=None, derandomize=True)
@given(
    batch=st.integers(1, 3),
    tokens=st.integers(1, 7),
    experts=st.integers(2, 3),
    router=st.sampled_from(["experts_choose", "tokens_choose"]),
    priority=st.sampled_from(["score", "order"]),
    top_k=st.integers(1, 2),
    group=st.sampled_from(["example", "batch", "half"]),
    seed=st.integers(0, 99),
)
@example(2, 6, 3, "experts_choose", "score", 1, "example", 0)
@example(3, 4, 2, "experts_choose", "score", 1, "batch", 1)
@example(2, 6, 3, "tokens_choose", "score", 2, "half", 2)
@example(2, 5, 2, "tokens_choose", "order", 1, "batch", 3)
def test_equals_the_one_hot_layer(
    config, batch, tokens, experts, router, priority, top_k, group, seed
):
    # Groups of half the batch's tokens, where their number is even: within examples or across.
    total = batch * tokens
    half = total // 2 if total % 2 == 0 else total
    config = dataclasses.replace(
        config,
        num_experts=experts,
        router=router,
        capacity_priority=priority,
        top_k=top_k,
        routing_group=half if group == "half" else group,
    )
    rng = np.random.default_rng(seed)
    x = rng.normal(0, 1, (batch, tokens, config.width)).astype(np.float32)
    mask = rng.random((batch, tokens)) < 0.8
    direction = rng.normal(0, 1, x.shape).astype(np.float32)
    layer = MoE(config, Init.seeded(seed, "moe"))
    # The initial router is nearly uniform: a decided one tells right gates from wrong.
    layer.router.kernel[...] = layer.router.kernel[...] * 50

    def ours(layer, x):
        y = layer(x, jnp.asarray(mask))[0]
        return (y * direction).sum(), y

    def oracle(layer, x):
        groups = {"example": batch, "batch": 1, "half": total // half}[group]
        rows = x.reshape(groups, -1, x.shape[-1])
        index, gates, _ = layer.router(rows, jnp.asarray(mask).reshape(groups, -1))
        y = one_hot_moe(rows, index, gates, layer.up[...], layer.down[...]).reshape(x.shape)
        return (y * direction).sum(), y

    def both(layer, x):
        pairs = [jax.value_and_grad(f, (0, 1), has_aux=True)(layer, x) for f in (ours, oracle)]
        return [(y, x_grad, *jax.tree.leaves(grads)) for (_, y), (grads, x_grad) in pairs]

    got, want = jax.jit(both)(layer, x)
    assert float(jnp.abs(want[0]).max()) > 0 or not mask.any()
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("router", ["experts_choose", "tokens_choose"])
def test_a_token_that_no_expert_took_and_padding_yield_zero(config, router):
    config = dataclasses.replace(config, router=router, capacity_factor=0.5)
    layer = MoE(config, Init.seeded(0, "moe"))
    x = np.random.default_rng(0).normal(size=(1, 8, config.width)).astype(np.float32)
    mask = np.arange(8)[None] < 7
    both = jax.jit(lambda layer, x, mask: (layer.router(x, mask), layer(x, mask)[0]))
    (index, gates, metrics), y = jax.tree.map(np.asarray, both(layer, x, mask))
    taken = set(index[gates > 0].tolist())
    assert len(taken) <= 4
    for n in range(8):
        assert y[0, n].any() == (n in taken)
    np.testing.assert_allclose(metrics["dropped_tokens"], [1 - len(taken) / 7], rtol=1e-6)
