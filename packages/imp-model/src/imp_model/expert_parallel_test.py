"""On every mesh of eight devices, what one device computes: loss, metrics, gradients, exchanges.

Run as a program, of eight virtual devices: their number is fixed once a process has begun with JAX.
The loss is a contrast of images with texts. A sum of a few hundred products in another order errs
by some 1e-6 of its norm in float32; the routers' choices are the same.
"""

import dataclasses
import functools
import os
import re
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np

from imp_model import sharding
from imp_model.config import ModelConfig
from imp_model.init import Init
from imp_model.model import Model
from imp_model.moe import MoE
from imp_model.router_losses import auxiliary_loss

PAIR = ("image", "text")
CONFIG = ModelConfig(
    width=32,
    mlp=24,
    num_heads=8,
    num_dense_layers=1,
    num_moe_layers=2,
    num_experts=8,
    patch=(4, 8, 8),
    audio_patch=(8, 8),
    vocab_size=50,
    text_positions=16,
    dtype="float32",
)
TOKENS_CHOOSE = {"router": "tokens_choose", "top_k": 2, "overflow": "next", "gates": "normalised"}
BATCH = 8


def example_batch(length):
    """Texts of several lengths; with 4 tokens they pass the encoder together with the images."""
    rng = np.random.default_rng(0)
    text = rng.integers(1, 50, (BATCH, length)).astype(np.int32)
    for row in range(BATCH):
        text[row, rng.integers(1, length + 1) :] = 0
    return {"image": rng.integers(0, 256, (BATCH, 16, 16, 3), np.uint8), "text": text}


def objective(model, batch, key):
    pooled, metrics = model.encode(batch, drop={"image": 0.5}, key=key)
    images, texts = (
        model.contrast(pooled["image"], PAIR),
        model.contrast(pooled["text"], PAIR[::-1]),
    )
    logits = model.logit_scale(PAIR) * (images @ texts.T)
    logs = [jnp.diagonal(jax.nn.log_softmax(logits, axis)) for axis in (0, 1)]
    return -(logs[0] + logs[1]).mean() / 2 + auxiliary_loss(metrics), metrics


STEP = jax.jit(jax.value_and_grad(objective, has_aux=True))


def decided(config):
    """A model whose routers are far from even: a choice of theirs is no matter of rounding."""
    model = Model.create(config, pairs=[PAIR], seed=0)
    kernel = model.parts["encoder"].moe.ffn.router.kernel
    kernel[...] = kernel[...] * 50
    return model


@functools.cache
def alone(router):
    """A configuration, inputs, and what one device computes of them."""
    # Noise is drawn for whole batches: joined ones are ordered by device, and differ.
    length = 2 if router == "experts_choose" else 6
    config = dataclasses.replace(CONFIG, **({} if router == "experts_choose" else TOKENS_CHOOSE))
    inputs = decided(config), example_batch(length), jax.random.key(1)
    return config, inputs, jax.tree.map(np.asarray, STEP(*inputs))


CASES = [
    ((8, 1, 1, 1), "experts_choose", "none"),
    ((1, 8, 1, 1), "tokens_choose", "none"),
    ((1, 1, 8, 1), "experts_choose", "none"),
    ((1, 1, 1, 8), "experts_choose", "lean"),
    ((2, 2, 2, 1), "experts_choose", "lean"),
    ((1, 2, 2, 2), "tokens_choose", "lean"),
]


def check_mesh(sizes, router, remat):
    config, (model, batch, key), want = alone(router)
    model = Model(dataclasses.replace(config, remat=remat), dict(model.parts))
    for part in model.parts.values():
        if hasattr(part, "config"):
            part.config = dataclasses.replace(part.config, remat=remat)
    mesh = sharding.make_mesh(config, **dict(zip(sharding.AXES, sizes, strict=True)))
    model = jax.device_put(model, sharding.shardings(mesh, model))
    batch = jax.device_put(batch, sharding.batch_sharding(mesh))
    with jax.set_mesh(mesh):
        program = STEP.lower(model, batch, key).compile()
        got = program(model, batch, key)
    check_equal(got, want)
    # Images and texts of as many tokens pass the encoder as one batch, else each have a pass.
    passes = 1 if router == "experts_choose" else 2
    check_exchange(program.as_text(), dict(zip(sharding.AXES, sizes, strict=True)), remat, passes)


def check_equal(got, want):
    (loss, metrics), grads = got
    (want_loss, want_metrics), want_grads = want
    np.testing.assert_allclose(loss, want_loss, rtol=2e-6)
    for name, value in want_metrics.items():
        np.testing.assert_allclose(metrics[name], value, rtol=1e-5, atol=1e-6, err_msg=name)
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(want_grads)]
    whole = np.sqrt(sum(np.square(leaf).sum() for leaf in leaves))
    assert whole > 0.1
    for (path, a), b in zip(jax.tree.leaves_with_path(grads), leaves, strict=True):
        error, norm = np.linalg.norm(np.asarray(a) - b), np.linalg.norm(b)
        assert error <= 1e-6 * whole + 5e-6 * norm, (jax.tree_util.keystr(path), error / norm)


def check_exchange(hlo, sizes, remat, passes):
    """Tokens are exchanged over `expert` and nothing else is; an expert never leaves its device."""
    exchanges = re.findall(r" all-to-all(?:-start)?\(", hlo)
    # Forward there and back, backward the same; rematerialised, the way there once more.
    each = 0 if sizes["expert"] == 1 else 5 if remat == "lean" else 4
    assert len(exchanges) == passes * each
    gathered = [
        tuple(map(int, dims.split(",")))
        for dims in re.findall(r"\[([\d,]+)\]\S* all-gather(?:-start)?\(", hlo)
    ]
    c = CONFIG
    if sizes["expert"] > 1:
        kernels = ({c.num_experts, c.width, c.mlp // m} for m in (1, sizes["model"]))
        for kernel in kernels:
            assert not [dims for dims in gathered if kernel <= set(dims)]
    if sizes["fsdp"] > 1:
        own = (c.num_experts // sizes["expert"], c.width, c.mlp // sizes["model"])
        assert own in gathered


def check_a_layer_in_bfloat16_with_masks():
    config = dataclasses.replace(CONFIG, dtype="bfloat16")
    layer = MoE(config, Init.seeded(0, "moe"))
    x = np.random.default_rng(0).normal(size=(BATCH, 6, config.width))
    mask = example_batch(6)["text"] != 0
    run = jax.jit(lambda layer, x, mask: layer(x.astype(jnp.bfloat16), mask)[0].astype(jnp.float32))
    want = np.asarray(run(layer, x, mask))
    mesh = sharding.make_mesh(config, data=1, fsdp=2, expert=2, model=2)
    with jax.set_mesh(mesh):
        got = np.asarray(run(jax.device_put(layer, sharding.shardings(mesh, layer)), x, mask))
    # Two halves of the hidden units are rounded to 8 bits, and then their sum.
    assert np.abs(got - want).max() < 2 * 2**-8 * np.abs(want).max()
    assert not got[~mask].any()


def check_parameters_lie_where_the_rules_say():
    model = Model.create(CONFIG, pairs=[PAIR], seed=0)
    mesh = sharding.make_mesh(CONFIG, data=1, fsdp=2, expert=2, model=2)
    placed = jax.device_put(model, sharding.shardings(mesh, model))
    up = placed.parts["encoder"].moe.ffn.up[...]
    assert {shard.data.shape for shard in up.addressable_shards} == {(2, 4, 16, 12)}
    image = jax.device_put(example_batch(4)["image"], sharding.batch_sharding(mesh))
    assert {shard.data.shape for shard in image.addressable_shards} == {(2, 16, 16, 3)}


def test_on_eight_devices():
    # Compiled without optimisation: what the programs mean is tested, and time is short.
    own = {"JAX_NUM_CPU_DEVICES": "8", "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
    own |= {"JAX_PLATFORMS": "cpu", "PYTHONPATH": os.pathsep.join(sys.path)}
    ran = subprocess.run(
        [sys.executable, "-P", __file__], env=os.environ | own, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert ran.stdout.splitlines()[-1] == f"{len(CASES) + 2} hold"


def main():
    check_parameters_lie_where_the_rules_say()
    check_a_layer_in_bfloat16_with_masks()
    for case in CASES:
        print(*case, flush=True)
        check_mesh(*case)
    print(len(CASES) + 2, "hold")


if __name__ == "__main__":
    main()
