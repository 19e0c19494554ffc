"""The schedule's shape, and Adam part by part against NumPy."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AbstractMesh
from jax.sharding import PartitionSpec as P

from imp_model import sharding
from imp_model.bundle import flatten
from imp_model.init import Init
from imp_model.layers import Linear
from imp_model.model import Model
from imp_train import optimizer
from imp_train.config import OptimizerConfig
from imp_train.conftest import MODEL
from imp_train.optimizer import learning_rate


def test_the_rate_warms_up_linearly_then_falls_by_a_cosine():
    config = OptimizerConfig(peak_rate=0.5, warmup_steps=10, end_factor=0.1)
    rates = [learning_rate(config, step, 110) for step in range(111)]
    np.testing.assert_allclose(rates[:10], 0.5 * np.arange(1, 11) / 10)
    assert rates[10] == pytest.approx(0.5)
    assert (np.diff(rates[10:]) < 0).all()
    assert rates[60] == pytest.approx(0.5 * (0.1 + 0.9 * 0.5))
    assert rates[110] == pytest.approx(0.05)
    assert learning_rate(config, 999, 110) == pytest.approx(0.05)
    assert learning_rate(dataclasses.replace(config, warmup_steps=0), 0, 1) == pytest.approx(0.5)


def test_updates_by_adams_formula():
    config = OptimizerConfig(b1=0.8, b2=0.9, epsilon=1e-6, weight_decay=0.1)
    part = Linear(3, 2, Init.seeded(0, "part"), axes=("embed", "mlp"))
    moments = optimizer.init(config, {"part": part})["part"]
    p = np.asarray(part.kernel[...], np.float64)
    m, v = np.zeros_like(p), np.zeros_like(p)
    rng = np.random.default_rng(0)
    for t in range(1, 4):
        g, factor, rate = rng.normal(size=p.shape), 0.5, 0.01 * t
        grads = jax.tree.map(lambda x, g=g: jnp.asarray(g, jnp.float32), part)
        part, moments = optimizer.update(
            config, part, moments, grads, rate, jnp.float32(factor), jnp.bool_(True)
        )
        g = g * factor
        m, v = 0.8 * m + 0.2 * g, 0.9 * v + 0.1 * g * g
        unbiased = (m / (1 - 0.8**t)) / (np.sqrt(v / (1 - 0.9**t)) + 1e-6)
        p = p - rate * (unbiased + 0.1 * p)
        np.testing.assert_allclose(part.kernel[...], p, rtol=1e-5, atol=1e-6)


def test_the_norm_is_over_all_parts_and_clipping_only_shrinks():
    config = OptimizerConfig(clip_norm=1.0)
    big = {name: Linear(1, 1, Init.seeded(0, name), axes=("embed", "mlp")) for name in "ab"}
    big["a"].kernel[...], big["b"].kernel[...] = jnp.full((1, 1), 3.0), jnp.full((1, 1), 4.0)
    norm, factor, finite = optimizer.clipped_norm(config, big, jnp.float32(0))
    np.testing.assert_allclose([norm, factor], [5, 0.2], rtol=1e-6)
    assert finite
    assert not optimizer.clipped_norm(config, big, jnp.float32(jnp.nan))[2]
    small = jax.tree.map(lambda x: x / 100, big)
    assert optimizer.clipped_norm(config, small, jnp.float32(0))[1] == 1
    big["a"].kernel[...] = jnp.full((1, 1), jnp.inf)
    assert not optimizer.clipped_norm(config, big, jnp.float32(0))[2]


@pytest.mark.parametrize(("field", "value"), [("peak_rate", 0.0), ("clip_norm", -1.0)])
def test_errors_quote_the_value(field, value):
    with pytest.raises(ValueError, match=f"{field} {value}"):
        OptimizerConfig(**{field: value})


def test_moments_lie_on_a_mesh_where_their_parameters_do():
    model = Model.abstract(MODEL, pairs=[])
    moments = jax.eval_shape(
        lambda parts: optimizer.init(OptimizerConfig(), parts), dict(model.parts)
    )
    mesh = AbstractMesh((1, 2, 2, 1), sharding.AXES)
    placed = sharding.shardings(mesh, moments)["encoder"]
    up = "encoder/moe/ffn/up"
    for of in (placed.mu, placed.nu):
        assert flatten({"encoder": of})[up].spec == P(None, "expert", "fsdp", "model")
    assert placed.count.spec == P()
