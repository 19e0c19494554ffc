"""The fused experts, step by step on CPU, against the one-hot oracle; and lowered for both
platforms with neither present."""

import dataclasses
import importlib.util
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from jax.sharding import AbstractDevice, AbstractMesh

from imp_model.config import size
from imp_model.init import Init
from imp_model.kernels import experts_gpu, experts_tpu
from imp_model.kernels.experts import fused_experts
from imp_model.kernels.reference import one_hot_moe
from imp_model.moe import MoE

DEVICES = {
    "tpu": (AbstractDevice("TPU v4", 1, "tpu"), "tpu_custom_call"),
    "cuda": (AbstractDevice("NVIDIA H100", 1, "cuda"), "__gpu$xla.gpu.triton"),
}
# What a Triton kernel is compiled by is not for keeping, nor is it kept here.
UNKEPT = [jax.export.DisabledSafetyCheck.custom_call("__gpu$xla.gpu.triton")]


def drawn(g, n, d, f, e, c, *, seed=0, empty=0.3, dtype=jnp.float32):
    """Each expert's slots hold different tokens; a share of them is empty."""
    rng = np.random.default_rng(seed)
    token = rng.permuted(np.broadcast_to(np.arange(n, dtype=np.int32), (g, e, n)), axis=2)[..., :c]
    gates = (rng.random((g, e, c)) * (rng.random((g, e, c)) >= empty)).astype(np.float32)
    x = jnp.asarray(rng.normal(size=(g, n, d)), dtype)
    up = jnp.asarray(rng.normal(size=(e, d, f)) / d**0.5, dtype)
    down = jnp.asarray(rng.normal(size=(e, f, d)) / f**0.5, dtype)
    return x, jnp.asarray(token), jnp.asarray(gates), up, down


def of_shape(g, n, d, f, e, dtype):
    c = n // e
    shapes = [((g, n, d), dtype), ((g, e, c), jnp.int32), ((g, e, c), jnp.float32)]
    shapes += [((e, d, f), dtype), ((e, f, d), dtype)]
    return [jax.ShapeDtypeStruct(shape, dtype) for shape, dtype in shapes]


@pytest.mark.parametrize("kernel", ["tpu", "gpu"])
@settings(max_examples=2, deadline=None, derandomize=True)
@given(
    g=st.integers(1, 3),
    n=st.integers(1, 20),
    widths=st.sampled_from([(16, 32), (48, 16), (32, 144)]),
    e=st.integers(1, 3),
    share=st.floats(0.1, 1),
    seed=st.integers(0, 99),
)
@example(3, 17, (48, 144), 3, 0.5, 0)
def test_values_and_gradients_are_the_oracles(kernel, g, n, widths, e, share, seed):
    c = max(1, round(share * n))
    x, token, *others = drawn(g, n, *widths, e, c, seed=seed)
    direction = np.random.default_rng(seed).normal(size=x.shape).astype(np.float32)

    def score(layer, x, *others, **options):
        y = layer(x, token, *others, **options)
        return (y * direction).sum(), y

    def both(*arguments):
        ours = jax.value_and_grad(score_ours, (0, 1, 2, 3), has_aux=True)(*arguments)
        theirs = jax.value_and_grad(score_theirs, (0, 1, 2, 3), has_aux=True)(*arguments)
        return ours, theirs

    def score_ours(*arguments):
        return score(fused_experts, *arguments, interpret=kernel)

    def score_theirs(*arguments):
        return score(one_hot_moe, *arguments)

    (got, want) = jax.jit(both)(x, *others)
    # A slot with gate 0 is empty for the oracle: its gate has no gradient there.
    live = np.asarray(others[0]) > 0
    for a, b in zip(jax.tree.leaves(got[0][1]), jax.tree.leaves(want[0][1]), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)
    for i, (a, b) in enumerate(zip(got[1], want[1], strict=True)):
        a, b = (np.where(live, each, 0) if i == 1 else each for each in (a, b))
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize("kernel", ["tpu", "gpu"])
def test_bfloat16_rounds_the_hidden_layer_the_slots_and_the_sum(kernel):
    x, token, gates, up, down = drawn(2, 12, 32, 64, 2, 6, dtype=jnp.bfloat16)
    got = jax.jit(lambda *a: fused_experts(*a, interpret=kernel))(x, token, gates, up, down)
    x, up, down = (each.astype(jnp.float32) for each in (x, up, down))
    want = one_hot_moe(x, token, gates, up, down)
    # Each of the three is off by 2**-9 of itself: so much is the sum of absolute values off.
    rows = jnp.take_along_axis(x[:, None], token[..., None], axis=2)
    hidden = jax.nn.gelu(jnp.einsum("gecd,edf->gecf", rows, up), approximate=True)
    parts = jnp.einsum("gecf,efd->gecd", jnp.abs(hidden), jnp.abs(down)) * gates[..., None]
    most = np.zeros(x.shape)
    for g, e, c in np.ndindex(token.shape):
        most[g, token[g, e, c]] += parts[g, e, c]
    assert got.dtype == jnp.bfloat16
    assert (np.abs(np.asarray(got, np.float32) - want) <= 3 * 2**-9 * most + 1e-6).all()


@pytest.mark.parametrize("kernel", ["tpu", "gpu"])
def test_a_group_is_bit_equal_in_every_company_and_place(kernel):
    x, token, gates, up, down = drawn(3, 10, 32, 48, 2, 5)
    other = drawn(3, 10, 32, 48, 2, 5, seed=1)
    run = jax.jit(lambda *a: fused_experts(*a, interpret=kernel))
    first = np.asarray(run(x, token, gates, up, down))[0]
    mixed = [jnp.concatenate([b[:2], a[:1]]) for a, b in zip((x, token, gates), other)]
    again = np.asarray(run(*mixed, up, down))[2]
    assert first.tobytes() == again.tobytes()
    idle = np.setdiff1d(np.arange(10), np.asarray(token[0])[np.asarray(gates[0]) > 0])
    assert not first[idle].any()


@pytest.mark.parametrize("platform", ["tpu", "cuda"])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("shape", [(16, 256, 768, 3072, 16), (4, 512, 1024, 4096, 4)])
def test_lowers_for_a_platform_that_is_not_here(platform, dtype, shape):
    device, call = DEVICES[platform]
    with jax.sharding.use_abstract_mesh(AbstractMesh((1,), ("x",), abstract_device=device)):
        exported = jax.export.export(
            jax.jit(fused_experts), platforms=[platform], disabled_checks=UNKEPT
        )(*of_shape(*shape, dtype))
    assert call in exported.mlir_module()


def test_a_layer_lowers_with_its_gradient(config):
    config = dataclasses.replace(config, width=32, mlp=64, experts="pallas")
    layer = MoE(config, Init.seeded(0, "moe"))
    x = jnp.ones((2, 8, 32))
    for platform, (device, call) in DEVICES.items():
        with jax.sharding.use_abstract_mesh(AbstractMesh((1,), ("x",), abstract_device=device)):
            grad = jax.jit(jax.grad(lambda layer, x: layer(x, None)[0].sum()))
            text = grad.trace(layer, x).lower(lowering_platforms=(platform,)).as_text()
        assert call in text
    with pytest.raises(ValueError, match="experts='pallas' needs a TPU or a GPU, and this is a c"):
        layer(x, None)


@settings(max_examples=100, deadline=None)
@given(
    g=st.integers(1, 64),
    n=st.integers(1, 64).map(lambda n: 16 * n),
    d=st.sampled_from([128, 768, 1024]),
    f=st.sampled_from([96, 256, 3072, 4096]),
    e=st.integers(1, 16),
    itemsize=st.sampled_from([2, 4]),
)
def test_blocks_fit_vmem_or_the_error_names_what_would(g, n, d, f, e, itemsize):
    c = -(-n // e)
    try:
        groups, tile = experts_tpu.blocks(g, n, d, f, c, itemsize)
    except ValueError as error:
        fits = int(str(error).partition("groups of ")[2].split()[0])
        assert 0 < fits < n
        # With fewer tokens an expert takes fewer of them, too.
        experts_tpu.blocks(g, fits, d, f, -(-fits // e), itemsize)
        return
    assert g % groups == 0
    assert f % tile == 0
    assert experts_tpu.vmem_bytes(groups, tile, n, d, c, itemsize) <= experts_tpu.VMEM_BYTES


@pytest.mark.parametrize(
    ("d", "f", "quoted"),
    [
        (40, 64, "a width that is a multiple of 16 on a GPU, not 40: 32 or 48 would be"),
        (64, 8, "a mlp that is a multiple of 16 on a GPU, not 8: 16 would be"),
        (4096, 64, "16 sums of width 4096 in 128 KiB of registers; a width of 2048 fits"),
    ],
)
def test_widths_that_no_gpu_tile_fits_are_quoted(d, f, quoted):
    with pytest.raises(ValueError, match=quoted):
        experts_gpu.tile(d, f)


COMPILE = """
import jax, jax.numpy as jnp
from jax.experimental import topologies
from imp_model.kernels import experts_tpu
from imp_model.kernels.experts_test import of_shape
topology = topologies.get_topology_desc(
    platform="tpu", topology_name="v4:2x2x1", chip_config_name="megacore"
)
device = jax.sharding.SingleDeviceSharding(topology.devices[0])
for shape in ((16, 256, 768, 3072, 16), (4, 1024, 768, 3072, 16), (3, 50, 96, 192, 4)):
    structs = [
        jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=device)
        for s in of_shape(*shape, jnp.bfloat16)
    ]
    jax.jit(lambda *a: experts_tpu.fused(*a, interpret=False)).lower(*structs).compile()
"""


@pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None, reason="libtpu, TPU's compiler, is not installed"
)
def test_the_tpu_compiler_takes_it():
    environment = os.environ | {
        "JAX_PLATFORMS": "cpu",
        "TPU_SKIP_MDS_QUERY": "1",
        "TPU_ACCELERATOR_TYPE": "v4-8",
        "TPU_WORKER_HOSTNAMES": "localhost",
        "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
    }
    subprocess.run([sys.executable, "-c", COMPILE], env=environment, check=True)


def test_the_sizes_of_the_paper_fit_both():
    for name in ("imp-moe-s", "imp-moe-b", "imp-moe-l"):
        config = size(name)
        d, f, e = config.width, config.mlp, config.num_experts
        assert experts_gpu.tile(d, f) >= 32
        for tokens in (256, 512):
            assert experts_tpu.blocks(64, tokens, d, f, max(16, tokens // e), 2)[0] >= 2
