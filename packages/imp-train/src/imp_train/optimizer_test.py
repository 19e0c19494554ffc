"""The schedule's shape, and Adam part by part against NumPy."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AbstractMesh
from jax.sharding import PartitionSpec as P

from imp_data.batch import Batch
from imp_model import sharding
from imp_model.bundle import flatten
from imp_model.init import Init
from imp_model.layers import Linear
from imp_model.model import Model
from imp_train import optimizer
from imp_train.config import OptimizerConfig
from imp_train.conftest import MODEL
from imp_train.initial import initial_state
from imp_train.optimizer import learning_rate
from imp_train.placement import Placement
from imp_train.step import make_gradients, take_step


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


def linear(name="part"):
    return Linear(3, 2, Init.seeded(0, name), axes=("embed", "mlp"))


def steps(config, count, *, finite=True):
    """A part after so many updates of one gradient, its moments, and where it had been."""
    part, path = linear(), []
    moments = optimizer.init(config, {"part": part})["part"]
    for _ in range(count):
        grads = jax.tree.map(lambda x: jnp.ones_like(x), part)
        part, moments = optimizer.update(
            config, part, moments, grads, 0.1, jnp.float32(1), jnp.bool_(finite)
        )
        path.append(np.asarray(part.kernel[...]))
    return part, moments, path


def test_an_average_follows_its_part_and_the_bundle_takes_it():
    config = OptimizerConfig(average=0.3)
    part, moments, path = steps(config, 5)
    average = np.asarray(linear().kernel[...])
    for t, value in enumerate(path, 1):
        decay = min(0.3, t / (t + 9))
        average = decay * average + (1 - decay) * value
    np.testing.assert_allclose(moments.average.kernel[...], average, rtol=1e-5)
    assert np.abs(average - path[-1]).max() > 1e-3
    served = optimizer.averaged({"part": part}, {"part": moments})
    assert served["part"] is moments.average
    _, still, _ = steps(config, 2, finite=False)
    np.testing.assert_array_equal(still.average.kernel[...], linear().kernel[...])
    part, moments, _ = steps(OptimizerConfig(), 1)
    assert moments.average is None
    assert optimizer.averaged({"part": part}, {"part": moments})["part"] is part


def test_a_bfloat16_momentum_halves_its_memory_and_hardly_changes_the_path():
    _, moments, path = steps(OptimizerConfig(momentum_dtype="bfloat16"), 5)
    assert moments.adam.mu.kernel.dtype == jnp.bfloat16
    assert moments.adam.nu.kernel.dtype == jnp.float32
    want = steps(OptimizerConfig(), 5)[2][-1]
    moved = want - np.asarray(linear().kernel[...])
    assert np.abs(path[-1] - want).max() < 0.02 * np.abs(moved).max()


def test_rates_are_the_longest_prefixs():
    config = OptimizerConfig(rates=(("head", 10.0), ("head/image", 0.5), ("encoder", 0.0)))
    assert config.rate_of("head/text>image") == 10
    assert config.rate_of("head/image>text") == 0.5
    assert config.rate_of("encoder") == 0
    assert config.rate_of("embedder/text") == 1


def test_accumulated_gradients_are_the_mean_of_all_batches_tasks_may_differ():
    config = OptimizerConfig(clip_norm=1.0)
    one, two = linear("a"), linear("b")
    ones, threes = (jax.tree.map(lambda x, k=k: jnp.full_like(x, k), one) for k in (1.0, 3.0))
    losses = [jnp.float32(1), jnp.float32(2)]
    total: optimizer.Parts = {}
    for grads in ({"a": ones}, {"a": threes, "b": jax.tree.map(jnp.ones_like, two)}):
        optimizer.accumulate(total, grads)
    norm, (factor, finite) = optimizer.accumulated(config, total, losses)
    np.testing.assert_array_equal(total["a"].kernel[...], np.full((3, 2), 4.0))
    np.testing.assert_allclose(norm, np.sqrt(6 * 2**2 + 6 * 0.5**2), rtol=1e-6)
    # The update multiplies the sum by it: the mean, clipped.
    np.testing.assert_allclose(factor * 2 * norm, 1, rtol=1e-6)
    assert finite
    _, (_, finite) = optimizer.accumulated(config, total, [losses[0], jnp.float32(np.inf)])
    assert not finite


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("peak_rate", 0.0),
        ("clip_norm", -1.0),
        ("average", 1.0),
        ("momentum_dtype", "float16"),
        ("accumulate", 0),
    ],
)
def test_errors_quote_the_value(field, value):
    with pytest.raises(ValueError, match=f"{field} {value!r}"):
        OptimizerConfig(**{field: value})


def test_a_negative_rate_is_named():
    with pytest.raises(ValueError, match="'head' has -1"):
        OptimizerConfig(rates=(("head", -1.0),))


def test_moments_lie_on_a_mesh_where_their_parameters_do():
    model = Model.abstract(MODEL, pairs=[])
    moments = jax.eval_shape(
        lambda parts: optimizer.init(OptimizerConfig(), parts), dict(model.parts)
    )
    mesh = AbstractMesh((1, 2, 2, 1), sharding.AXES)
    placed = sharding.shardings(mesh, moments)["encoder"].adam
    up = "encoder/moe/ffn/up"
    for of in (placed.mu, placed.nu):
        assert flatten({"encoder": of})[up].spec == P(None, "expert", "fsdp", "model")
    assert placed.count.spec == P()


def test_a_step_moves_each_part_at_its_own_rate(make):
    """The first step of Adam: the same gradients, so updates in proportion to the rates."""
    image = np.random.default_rng(0).integers(0, 256, (4, 16, 16, 3), np.uint8)
    batch = Batch(
        inputs={"image": image}, labels=np.array([0, 1, 1, 0], np.int32), index=np.arange(4)
    )
    task = make().tasks[1]
    gradients = make_gradients(make(), task, task.variants[0])
    moves = []
    for rates in ((), (("encoder", 0.0), ("classifier", 2.0))):
        experiment = make(optimizer=dataclasses.replace(make().optimizer, rates=rates))
        state = initial_state(experiment, {"colours": ("blue", "red")})
        before = {name: np.array(value) for name, value in flatten(state.parts).items()}
        take_step(experiment, gradients, state, task, [batch], Placement(experiment.model))
        after = flatten(state.parts)
        moves.append({name: np.asarray(after[name]) - before[name] for name in before})
    alike, apart = moves
    factors = {"encoder": 0.0, "classifier": 2.0, "embedder": 1.0, "projection": 1.0}
    for name, move in alike.items():
        factor = factors.get(name.split("/")[0], 1.0)
        np.testing.assert_allclose(apart[name], factor * move, rtol=1e-3, atol=1e-6, err_msg=name)
    encoder = [name for name in apart if name.startswith("encoder/")]
    assert encoder
    assert all(not apart[name].any() for name in encoder), "bit for bit"
    assert any(alike[name].any() for name in encoder)
