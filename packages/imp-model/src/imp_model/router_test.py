"""Both routers against their definitions, written out in NumPy, token by token."""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from imp_model import router_losses
from imp_model.init import Init
from imp_model.router import Router, normalised, tokens_choose, tokens_choose_on


def softmax(x, kernel):
    """[n, d] -> [n, e] in float64."""
    logits = x.astype(np.float64) @ kernel.astype(np.float64)
    return np.exp(logits) / np.exp(logits).sum(1, keepdims=True)


def experts_choose_by_definition(probs, valid, capacity):
    """{(expert, token): gate}: each expert its most probable tokens."""
    chosen = {}
    for e in range(probs.shape[1]):
        for n in sorted(valid, key=lambda n: -probs[n, e])[:capacity]:
            chosen[e, n] = probs[n, e]
    return chosen


def tokens_choose_by_definition(probs, valid, capacity, top_k, priority):
    """{(expert, token): gate}: in each round each token gets its next expert, if it has room."""
    chosen, room = {}, [capacity] * probs.shape[1]
    if priority == "score":
        valid = sorted(valid, key=lambda n: -max(probs[n]))
    for choice in range(top_k):
        for n in valid:
            e = sorted(range(probs.shape[1]), key=lambda e: -probs[n, e])[choice]
            if room[e]:
                room[e] -= 1
                chosen[e, n] = probs[n, e]
    return chosen


def in_table(index, gates):
    """{(expert, token): gate} of one group's slots, none twice."""
    slots = [(e, int(index[e, c]), gates[e, c]) for e, c in np.ndindex(*index.shape)]
    taken = {(e, n): gate for e, n, gate in slots if gate > 0}
    assert len(taken) == (gates > 0).sum()
    return taken


# The shapes stay few: each is compiled anew.
SHAPE = st.sampled_from([(2, 9, 3), (1, 4, 2), (3, 1, 4)])


@settings(max_examples=4, deadline=None, derandomize=True)
@given(
    shape=SHAPE,
    router=st.sampled_from(["experts_choose", "score", "order"]),
    factor=st.sampled_from([0.1, 1.0, 2.5]),
    top_k=st.integers(1, 2),
    seed=st.integers(0, 99),
)
@example(shape=(2, 9, 3), router="experts_choose", factor=1.0, top_k=1, seed=0)
@example(shape=(2, 9, 3), router="score", factor=0.7, top_k=2, seed=0)
@example(shape=(2, 9, 3), router="order", factor=0.7, top_k=2, seed=0)
def test_slots_gates_and_metrics_by_definition(config, shape, router, factor, top_k, seed):
    groups, tokens, experts = shape
    chosen_by_tokens = router != "experts_choose"
    config = dataclasses.replace(
        config,
        num_experts=experts,
        capacity_factor=factor,
        router="tokens_choose" if chosen_by_tokens else router,
        capacity_priority=router if chosen_by_tokens else "score",
        top_k=top_k,
    )
    layer = Router(config, Init.seeded(seed, "router"))
    kernel = np.asarray(layer.kernel[...])
    rng = np.random.default_rng(seed)
    x = rng.normal(0, 20, (groups, tokens, config.width)).astype(np.float32)
    mask = rng.random((groups, tokens)) < 0.7
    index, gates, metrics = jax.tree.map(np.asarray, jax.jit(layer)(x, mask))

    capacity = config.capacity(tokens)
    assert index.shape == gates.shape == (groups, experts, capacity)
    for g in range(groups):
        probs, valid = softmax(x[g], kernel), [n for n in range(tokens) if mask[g, n]]
        if chosen_by_tokens:
            want = tokens_choose_by_definition(probs, valid, capacity, top_k, router)
        else:
            want = experts_choose_by_definition(probs, valid, capacity)
        got = in_table(index[g], gates[g])
        assert got.keys() == want.keys()
        for slot, gate in want.items():
            np.testing.assert_allclose(got[slot], gate, rtol=1e-5)

        dropped = sum(n not in {n for _, n in want} for n in valid) / max(1, len(valid))
        np.testing.assert_allclose(metrics["dropped_tokens"][g], dropped, atol=1e-6)
        total = sum(want.values()) or 1.0
        load = [sum(w for (e, _), w in want.items() if e == i) / total for i in range(experts)]
        np.testing.assert_allclose(metrics["expert_load"][g], load, atol=1e-5)
        entropy = -(probs[valid] * np.log(np.maximum(probs[valid], 1e-9))).sum(1)
        want_entropy = entropy.mean() if valid else 0.0
        np.testing.assert_allclose(metrics["gate_entropy"][g], want_entropy, atol=1e-4)
        if chosen_by_tokens:
            weight = probs[valid].sum(0)
            uneven = weight.var() / weight.mean() ** 2 if valid else 0.0
            np.testing.assert_allclose(metrics["importance_loss"][g], uneven, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("router", ["experts_choose", "tokens_choose"])
def test_a_padding_token_of_the_highest_gate_wins_no_slot(config, router):
    config = dataclasses.replace(config, router=router)
    layer = Router(config, Init.seeded(0, "router"))
    kernel = np.asarray(layer.kernel[...])
    x = np.random.default_rng(0).normal(size=(1, 4, config.width)).astype(np.float32)
    mask = np.array([[True, False, True, True]])
    route = jax.jit(layer)
    index, gates, metrics = route(x, mask)
    assert not (np.asarray(index) == 1)[np.asarray(gates) > 0].any()
    other = x.copy()
    other[0, 1] = 1e3 * kernel[:, 0]
    again = route(other, mask)
    for a, b in zip(jax.tree.leaves((index, gates, metrics)), jax.tree.leaves(again), strict=True):
        np.testing.assert_array_equal(a, b)


def test_priority_says_who_goes_without():
    """Three tokens name the first expert; it has two slots."""
    probs = jnp.asarray([[[0.6, 0.7, 0.9, 0.2], [0.4, 0.3, 0.1, 0.8]]])
    for priority, served in (("order", {0, 1}), ("score", {1, 2})):
        token, live = tokens_choose(probs, None, 2, top_k=1, priority=priority)
        assert set(np.asarray(token[0, 0]).tolist()) == served
        # The other expert has a slot left over.
        assert np.asarray(live[0]).tolist() == [[True, True], [True, False]]


def test_load_is_the_chance_to_stay_among_the_top_k():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(2, 3, 5)).astype(np.float32)
    noisy = logits + rng.normal(0, 0.3, logits.shape).astype(np.float32)
    mask = np.array([[True] * 5, [True, False, True, True, False]])
    for top_k in (1, 2):
        load = jax.jit(functools.partial(router_losses.load, std=0.3, top_k=top_k))
        got = load(logits, noisy, mask=mask)
        for g in range(2):
            chances = np.zeros(3)
            for n in np.flatnonzero(mask[g]):
                threshold = sorted(noisy[g, :, n])[-top_k]
                # The normal distribution's tail.
                missing = (threshold - logits[g, :, n].astype(np.float64)) / 0.3
                chances += [0.5 * math.erfc(z / math.sqrt(2)) for z in missing]
            want = chances.var() / chances.mean() ** 2
            np.testing.assert_allclose(got[g], want, rtol=1e-4)


def test_the_losses_pull_towards_an_even_load(config):
    """Down their gradient the experts' load evens out; noise comes with a key alone."""
    config = dataclasses.replace(config, router="tokens_choose", top_k=1)
    layer = Router(config, Init.seeded(0, "router"))
    x = jnp.asarray(np.random.default_rng(0).normal(1, 1, (2, 8, config.width)), jnp.float32)
    layer.kernel[...] = layer.kernel[...] + jnp.linspace(0, 0.1, config.num_experts)
    key = jax.random.key(0)
    assert "load_loss" not in jax.eval_shape(layer, x, None).metrics

    @jax.jit
    @functools.partial(jax.value_and_grad, has_aux=True)
    def total(layer):
        metrics = layer(x, None, key).metrics
        return metrics["auxiliary_loss"].sum(), metrics

    (before, metrics), slope = total(layer)
    want = 0.005 * (metrics["importance_loss"] + metrics["load_loss"])
    np.testing.assert_allclose(metrics["auxiliary_loss"], want, rtol=1e-6)
    moved = jax.tree.map(lambda p, s: p - s, layer, slope)
    (after, again), _ = total(moved)
    assert after < before
    assert again["load_loss"].sum() < metrics["load_loss"].sum()


def test_an_empty_group_has_finite_losses_and_gradients(config):
    config = dataclasses.replace(config, router="tokens_choose")
    layer = Router(config, Init.seeded(0, "router"))
    x, mask = jnp.ones((1, 4, config.width)), jnp.zeros((1, 4), bool)

    def loss(layer):
        _, gates, metrics = layer(x, mask, jax.random.key(0))
        return metrics["auxiliary_loss"].sum() + gates.sum()

    value, grads = jax.jit(jax.value_and_grad(loss))(layer)
    assert value == 0
    assert np.isfinite(grads.kernel[...]).all()


def test_the_auxiliary_loss_sums_layers_and_averages_modalities():
    metrics = {
        "image/auxiliary_loss": jnp.asarray([1.0, 2.0]),
        "text/auxiliary_loss": jnp.asarray([3.0, 6.0]),
        "text/load_loss": jnp.asarray([9.0, 9.0]),
    }
    assert router_losses.auxiliary_loss(metrics) == 6.0
    assert router_losses.auxiliary_loss({"text/gate_entropy": jnp.ones(2)}) == 0.0


def test_routing_is_float32_whatever_the_tokens_are(config):
    layer = Router(config, Init.seeded(0, "router"))
    x = np.random.default_rng(0).normal(size=(1, 4, config.width))
    gates = jax.eval_shape(layer, jnp.asarray(x, jnp.bfloat16), None).gates
    assert gates.dtype == jnp.float32


def tokens_ask_on_by_definition(probs, valid, capacity, top_k, priority):
    """{(expert, token)}: as `tokens_choose_by_definition`, but who is refused asks again."""
    chosen, room = set(), [capacity] * probs.shape[1]
    wishes = {n: sorted(range(probs.shape[1]), key=lambda e: -probs[n, e]) for n in valid}
    if priority == "score":
        valid = sorted(valid, key=lambda n: -max(probs[n]))
    for choice in range(top_k):
        while asking := [
            n for n in valid if wishes[n] and sum(taken == n for _, taken in chosen) == choice
        ]:
            for n in asking:
                e = wishes[n].pop(0)
                if room[e]:
                    room[e] -= 1
                    chosen.add((e, n))
    return chosen


@pytest.mark.parametrize(("top_k", "priority"), [(1, "order"), (2, "score")])
def test_who_is_refused_asks_on_and_gates_sum_to_1(top_k, priority):
    tokens, experts = 9, 4
    rng = np.random.default_rng(0)
    # All want the later experts, some so much that the others' probabilities are 0.
    logits = rng.normal(0, 3, (4, experts, tokens)) + 2 * np.arange(experts)[:, None]
    logits *= np.array([1, 1, 0.01, 60])[:, None, None]
    logits = logits.astype(np.float32)
    mask = rng.random((4, tokens)) < 0.8
    capacity = -(-top_k * tokens // experts)

    @jax.jit
    def run(logits, mask):
        probs = jax.nn.softmax(logits, axis=1)
        token, live = tokens_choose_on(probs, mask, capacity, top_k=top_k, priority=priority)
        return token, live, normalised(logits, token, live), probs

    token, live, gates, probs = jax.tree.map(np.asarray, run(logits, mask))
    for g in range(4):
        valid = np.flatnonzero(mask[g])
        found = {(e, token[g, e, c]): gates[g, e, c] for e, c in np.argwhere(live[g])}
        assert len(found) == live[g].sum()
        # Of probabilities that are all 0 the order is that of their numbers, as it is of a sort.
        want = tokens_ask_on_by_definition(probs[g].T, valid, capacity, top_k, priority)
        assert set(found) == want
        assert {n for _, n in found} == set(valid)
        for n in valid:
            takers = [e for e in range(experts) if (e, n) in found]
            exact = np.exp(logits[g, takers, n].astype(np.float64) - logits[g, takers, n].max())
            got = [found[e, n] for e in takers]
            np.testing.assert_allclose(got, exact / exact.sum(), rtol=1e-5, atol=1e-30)
        assert not gates[g][~live[g]].any()
