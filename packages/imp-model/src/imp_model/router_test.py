"""Routing against the definition in NumPy: softmax over experts, each takes its top c tokens."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from imp_model.init import Init
from imp_model.router import ExpertsChoose


def by_definition(x, kernel, mask, capacity):
    """{(group, expert, token): gate}, in float64."""
    chosen = {}
    for g in range(len(x)):
        logits = x[g].astype(np.float64) @ kernel.astype(np.float64)
        probs = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        for e in range(probs.shape[1]):
            valid = [n for n in range(len(probs)) if mask[g, n]]
            for n in sorted(valid, key=lambda n: -probs[n, e])[:capacity]:
                chosen[g, e, n] = probs[n, e]
    return chosen


@settings(max_examples=8, deadline=None, derandomize=True)
@given(
    groups=st.integers(1, 3),
    tokens=st.integers(1, 9),
    experts=st.integers(2, 4),
    factor=st.sampled_from([0.1, 1.0, 2.5]),
    seed=st.integers(0, 99),
)
def test_experts_take_their_top_tokens(config, groups, tokens, experts, factor, seed):
    config = dataclasses.replace(config, num_experts=experts, capacity_factor=factor)
    router = ExpertsChoose(config, Init.seeded(seed, "router"))
    rng = np.random.default_rng(seed)
    x = rng.normal(0, 20, (groups, tokens, config.width)).astype(np.float32)
    mask = rng.random((groups, tokens)) < 0.7
    index, gates, metrics = jax.tree.map(np.asarray, jax.jit(router)(x, mask))

    capacity = config.capacity(tokens)
    assert index.shape == (groups, experts, capacity)
    chosen = {
        (g, e, int(index[g, e, c])): gates[g, e, c]
        for g, e, c in np.ndindex(*index.shape)
        if mask[g, index[g, e, c]]
    }
    expected = by_definition(x, np.asarray(router.kernel[...]), mask, capacity)
    assert chosen.keys() == expected.keys()
    for key, gate in expected.items():
        np.testing.assert_allclose(chosen[key], gate, rtol=1e-5)
    padding = ~np.take_along_axis(mask[:, None], index.reshape(groups, 1, -1), 2)
    assert (gates.reshape(groups, 1, -1)[padding] == 0).all()

    for g in range(groups):
        taken = {n for (group, _, n) in expected if group == g}
        dropped = 1 - len(taken) / max(1, mask[g].sum()) if mask[g].any() else 0
        np.testing.assert_allclose(metrics["dropped_tokens"][g], dropped, atol=1e-6)
        if taken:
            np.testing.assert_allclose(metrics["expert_load"][g].sum(), 1, rtol=1e-5)


def test_a_padding_token_of_the_highest_gate_wins_no_slot(config):
    router = ExpertsChoose(config, Init.seeded(0, "router"))
    kernel = np.asarray(router.kernel[...])
    x = np.zeros((1, 4, config.width), np.float32)
    x[0, 3] = 1e3 * kernel[:, 0]
    mask = np.array([[True, True, True, False]])
    index, gates, _ = router(jnp.asarray(x), jnp.asarray(mask))
    assert 3 not in np.asarray(index)
    assert (np.asarray(gates) > 0).all()


def test_routing_is_float32_whatever_the_tokens_are(config):
    router = ExpertsChoose(config, Init.seeded(0, "router"))
    x = np.random.default_rng(0).normal(size=(1, 4, config.width))
    _, gates, _ = router(jnp.asarray(x, jnp.bfloat16), None)
    assert gates.dtype == jnp.float32
