"""NCE in tiles around the ring is the naive one, and no device holds a B x B matrix.

Run as a program, of eight virtual devices: their number is fixed once a process has begun with JAX.
"""

import os
import re
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from imp_train import losses, ring_nce

BATCH, WIDTH = 64, 16
STEP = jax.jit(jax.value_and_grad(ring_nce.contrastive, (0, 1, 2), has_aux=True))
NAIVE = jax.jit(jax.value_and_grad(losses.contrastive, (0, 1, 2), has_aux=True))


def unit(rng, rows):
    x = rng.normal(size=(rows, WIDTH))
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


def example(groups, rows=BATCH):
    """Groups of several, of one, or all alike."""
    rng = np.random.default_rng(0)
    return unit(rng, rows), unit(rng, rows), np.float32(14), rng.integers(0, groups, rows, np.int32)


def check_equal(got, want):
    (loss, accuracy), grads = got
    (want_loss, want_accuracy), want_grads = want
    np.testing.assert_allclose(loss, want_loss, rtol=1e-6)
    assert accuracy == want_accuracy
    for a, b in zip(grads, want_grads, strict=True):
        assert np.linalg.norm(a - b) <= 1e-6 * np.linalg.norm(b)


@pytest.mark.parametrize("groups", [1, 40, 10_000])
@pytest.mark.parametrize("tile", [1, 8, 24])
def test_tiles_are_the_whole(monkeypatch, tile, groups):
    monkeypatch.setattr(ring_nce, "TILE", tile)
    STEP.clear_cache()
    args = example(groups)
    # With one group nothing is a negative: the loss is 0 and so are its gradients.
    if groups == 1:
        (loss, accuracy), grads = STEP(*args)
        assert abs(loss) < 1e-6
        assert accuracy == 1
        assert all(np.abs(g).max() < 1e-5 for g in grads)
        return
    check_equal(STEP(*args), NAIVE(*args))


def test_a_small_batch_is_done_in_one_piece():
    STEP.clear_cache()
    args = example(40)
    for a, b in zip(jax.tree.leaves(STEP(*args)), jax.tree.leaves(NAIVE(*args)), strict=True):
        np.testing.assert_array_equal(a, b)


def largest(hlo):
    """Elements of the largest array in a program's text."""
    shapes = re.findall(r"[a-z]+\d+\[([\d,]+)\]", hlo)
    return max(int(np.prod([int(n) for n in shape.split(",")])) for shape in shapes)


def specs(rows):
    x = jax.ShapeDtypeStruct((rows, WIDTH), jnp.float32)
    return x, x, jax.ShapeDtypeStruct((), jnp.float32), jax.ShapeDtypeStruct((rows,), jnp.int32)


def test_a_batch_of_65536_on_one_device_needs_no_square():
    STEP.clear_cache()
    program = STEP.lower(*specs(65_536)).compile()
    assert largest(program.as_text()) == 65_536 * ring_nce.TILE
    # A square alone would be 16 GiB.
    assert program.memory_analysis().temp_size_in_bytes < 2**30


def check_mesh(sizes):
    mesh = jax.make_mesh(
        sizes, ("data", "fsdp", "expert", "model"), axis_types=(AxisType.Auto,) * 4
    )
    devices = int(np.prod(sizes[:3]))
    spread, whole = (NamedSharding(mesh, spec) for spec in (P(("data", "fsdp", "expert")), P()))
    a, t, scale, groups = example(40)
    args = (*jax.device_put((a, t), spread), jax.device_put(scale, whole))
    args = (*args, jax.device_put(groups, spread))
    with jax.set_mesh(mesh):
        program = STEP.lower(*args).compile()
    check_equal(jax.tree.map(np.asarray, program(*args)), NAIVE(a, t, scale, groups))
    text = program.as_text()
    assert ("collective-permute" in text) == (devices > 1)
    assert "all-gather" not in text
    own = BATCH // devices
    assert largest(text) <= max(own * min(own, ring_nce.TILE), own * (WIDTH + 1))


def test_on_meshes_of_eight_devices():
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=8"
    subprocess.run(
        [sys.executable, "-P", __file__],
        env=os.environ | {"XLA_FLAGS": flags, "PYTHONPATH": os.pathsep.join(sys.path)},
        check=True,
        timeout=600,
    )


if __name__ == "__main__":
    jax.config.update("jax_platforms", "cpu")
    for shape in [(8, 1, 1, 1), (2, 2, 2, 1), (2, 1, 2, 2), (1, 1, 1, 8)]:
        for size in (4, 1024):
            ring_nce.TILE = size
            STEP.clear_cache()
            check_mesh(shape)
