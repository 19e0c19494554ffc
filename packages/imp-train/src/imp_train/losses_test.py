"""Losses against NumPy loops."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from imp_train import losses


def unit(rng, b, d):
    x = rng.normal(size=(b, d))
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("groups", [[0, 1, 2, 3, 4], [0, 1, 0, 0, 1], [2, 2, 2, 2, 2]])
def test_contrastive_by_a_loop(groups):
    rng = np.random.default_rng(0)
    a, b, scale = unit(rng, 5, 8), unit(rng, 5, 8), 5.0
    same = np.equal.outer(groups, groups)
    total, hits = 0.0, 0
    for i in range(5):
        others = [j for j in range(5) if j != i and not same[i, j]]
        positive = np.exp(scale * a[i] @ b[i])
        rows = [np.exp(scale * a[i] @ b[j]) for j in others]
        columns = [np.exp(scale * a[j] @ b[i]) for j in others]
        total -= np.log(positive / (positive + sum(rows)))
        total -= np.log(positive / (positive + sum(columns)))
        hits += all(positive > row for row in rows)
    args = (jnp.asarray(a), jnp.asarray(b), jnp.float32(scale))
    groups = jnp.array(groups)
    loss, accuracy = losses.contrastive(*args, groups)
    np.testing.assert_allclose(loss, total / 10, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(accuracy, hits / 5)
    grads = jax.grad(lambda *x: losses.contrastive(*x, groups)[0], (0, 1, 2))(*args)
    assert all(bool(jnp.isfinite(g).all()) for g in grads)


def test_the_loss_of_a_perfect_match_is_near_zero_and_of_chance_log_b():
    eye = jnp.eye(4)
    assert losses.contrastive(eye, eye, jnp.float32(100), jnp.arange(4))[0] < 1e-6
    alike = jnp.ones((4, 4)) / 2
    np.testing.assert_allclose(
        losses.contrastive(alike, alike, jnp.float32(9), jnp.arange(4))[0], np.log(4), rtol=1e-6
    )


def test_softmax_by_a_loop():
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(0, 3, (6, 4)).astype(np.float32), rng.integers(0, 4, 6)
    want = np.mean(
        [-np.log(np.exp(x[y]) / np.exp(x).sum()) for x, y in zip(logits, labels, strict=True)]
    )
    loss, accuracy = losses.softmax(jnp.asarray(logits), jnp.asarray(labels))
    np.testing.assert_allclose(loss, want, rtol=1e-5)
    np.testing.assert_allclose(accuracy, (logits.argmax(1) == labels).mean())


def test_sigmoid_by_a_loop():
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(0, 3, (6, 4)).astype(np.float32), rng.random((6, 4)) < 0.4
    labels[2] = False
    p = 1 / (1 + np.exp(-logits.astype(np.float64)))
    want = -sum(
        np.log(p[i, y] if labels[i, y] else 1 - p[i, y]) for i in range(6) for y in range(4)
    )
    hits = [labels[i, logits[i].argmax()] for i in range(6) if i != 2 and labels[i].any()]
    loss, accuracy = losses.sigmoid(jnp.asarray(logits), jnp.asarray(labels))
    np.testing.assert_allclose(loss, want / 6, rtol=1e-5)
    np.testing.assert_allclose(accuracy, np.mean(hits), rtol=1e-6)
    none = losses.sigmoid(jnp.asarray(logits), jnp.zeros((6, 4), bool))
    assert np.isfinite(none[0])
    assert none[1] == 0
