"""An upcycled model is its dense one, for every modality and any router; and its routers learn."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imp_model import bundle
from imp_model.bundle import flatten
from imp_model.cli import main
from imp_model.config import MODALITIES
from imp_model.conftest import CLASSIFIERS, PAIRS
from imp_model.model import Model
from imp_model.upcycling import upcycle, upcycled_config

ENCODE = jax.jit(lambda model, inputs: model.encode(inputs))


@pytest.fixture(scope="module")
def dense(config):
    config = dataclasses.replace(config, num_dense_layers=4, num_moe_layers=0, num_experts=1)
    return Model.create(config, pairs=PAIRS, classifiers=CLASSIFIERS, seed=1)


@pytest.fixture(scope="module")
def folder(dense, tmp_path_factory):
    path = tmp_path_factory.mktemp("bundles") / "dense"
    labels = {name: [str(i) for i in range(n)] for name, n in CLASSIFIERS.items()}
    bundle.save(
        path,
        dense,
        pairs=PAIRS,
        classifiers=labels,
        views={"image": {"size": 16}},
        tokenizer=b"pieces",
        metadata={"step": 7},
    )
    return path


def differ_by_rounding(found, want):
    for name, value in want.items():
        scale = np.abs(value).max()
        np.testing.assert_allclose(found[name], value, rtol=0, atol=3e-6 * scale, err_msg=name)


@pytest.mark.parametrize(
    "flags",
    [
        ["--experts", "3", "--moe-layers", "3"],
        ["--experts", "2", "--router", "experts_choose", "--placement", "every_second"],
    ],
)
def test_the_bundle_embeds_as_the_dense_one_does(folder, inputs, tmp_path, capsys, flags):
    out = tmp_path / "moe"
    assert main(["upcycle", str(folder), "--out", str(out), *flags]) == 0
    assert str(out) in capsys.readouterr().out
    before, after = bundle.load(folder), bundle.load(out)
    assert after.config.num_experts == int(flags[1])
    assert after.tokenizer_path.read_bytes() == b"pieces"
    assert (after.pairs, after.classifiers, after.views) == (
        before.pairs,
        before.classifiers,
        before.views,
    )
    assert after.metadata["step"] == 7
    assert after.metadata["upcycled_from"] == before.digest
    want, _ = ENCODE(before.model, inputs)
    found, metrics = ENCODE(after.model, inputs)
    assert set(found) == set(MODALITIES)
    differ_by_rounding(found, want)
    for modality in MODALITIES:
        np.testing.assert_array_equal(metrics[f"{modality}/dropped_tokens"], 0)
    for pair in PAIRS:
        a = before.model.contrast(want[pair[0]], pair)
        b = after.model.contrast(found[pair[0]], pair)
        np.testing.assert_allclose(a, b, atol=3e-6)


@settings(max_examples=5, deadline=None, derandomize=True)
@given(seed=st.integers(0, 99), strength=st.sampled_from([0.0, 1.0, 50.0, 5000.0]))
def test_whatever_the_routers_say(dense, inputs, seed, strength):
    """Even, decided, and so decided that all tokens want one expert and others' gates vanish."""
    config = upcycled_config(dense.config, num_experts=3, num_moe_layers=3)
    moe = upcycle(dense, config, pairs=PAIRS, classifiers=CLASSIFIERS, seed=seed)
    router = moe.parts["encoder"].moe.ffn.router.kernel
    router[...] = router[...] * strength
    differ_by_rounding(ENCODE(moe, inputs)[0], ENCODE(dense, inputs)[0])


@pytest.mark.parametrize("router", ["tokens_choose", "experts_choose"])
def test_routers_learn_once_the_experts_part(dense, inputs, router):
    config = upcycled_config(dense.config, num_experts=3, router=router)
    moe = upcycle(dense, config, pairs=PAIRS, classifiers=CLASSIFIERS)
    direction = np.random.default_rng(0).normal(size=(4, config.width)).astype(np.float32)

    @jax.jit
    def of_video(model, video):
        def score(model):
            return (model.encode({"video": video})[0]["video"] * direction).sum()

        return jax.grad(score)(model)

    def gradient(model):
        return of_video(model, inputs["video"])

    def of_router(grads):
        return np.abs(flatten(grads.parts)["encoder/moe/ffn/router/kernel"][...]).max()

    first = gradient(moe)
    assert of_router(first) < 1e-5
    moved = jax.tree.map(lambda p, g: p - 0.03 * jnp.sign(g), moe, first)
    experts = np.asarray(moved.parts["encoder"].moe.ffn.up[...])
    assert np.abs(experts - experts[:, :1]).max() > 0.01
    assert of_router(gradient(moved)) > 1e-3


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--experts", "1"], "num_experts 1 with 2 MoE layers"),
        (["--experts", "4", "--top-k", "1"], "top_k 1 gives the routers nothing to learn from"),
        (["--experts", "4", "--top-k", "5"], "top_k 5 must lie between 1 and num_experts 4"),
        (
            ["--experts", "4", "--moe-layers", "5"],
            "num_moe_layers 5 of a model of 4 layers",
        ),
        (["--experts", "4", "--moe-layers", "1", "--placement", "every_second"], "every second"),
    ],
)
def test_what_can_not_keep_the_function_is_refused(folder, tmp_path, capsys, flags, said):
    assert main(["upcycle", str(folder), "--out", str(tmp_path / "moe"), *flags]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_bundle_with_experts_and_a_missing_one_are_refused(folder, tmp_path, capsys):
    moe = tmp_path / "moe"
    assert main(["upcycle", str(folder), "--experts", "2", "--out", str(moe)]) == 0
    assert main(["upcycle", str(moe), "--experts", "2", "--out", str(tmp_path / "again")]) == 2
    assert "has 2 MoE layers of 2 experts" in capsys.readouterr().err
    assert main(["upcycle", "gone", "--experts", "2", "--out", str(tmp_path / "again")]) == 2
    assert "gone holds no bundle" in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["moe"]
