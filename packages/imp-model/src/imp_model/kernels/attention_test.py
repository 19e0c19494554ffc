"""cuDNN's attention refuses what it cannot do; where CUDA's libraries are, it lowers."""

import importlib.util

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import AbstractDevice, AbstractMesh

from imp_model.kernels.attention import attend

CUDA = any(importlib.util.find_spec(f"jax_cuda{version}_plugin") for version in (12, 13))
H100 = AbstractMesh((1,), ("x",), abstract_device=AbstractDevice("NVIDIA H100", 1, "cuda"))


def lowered(dtype=jnp.bfloat16, tokens=16, head_dim=64, masked=True):
    q = jax.ShapeDtypeStruct((2, tokens, 3, head_dim), dtype)
    mask = jax.ShapeDtypeStruct((2, tokens), bool) if masked else None

    def attention(q, mask):
        return attend(q, q, q, mask, implementation="cudnn")

    return jax.jit(attention).trace(q, mask).lower(lowering_platforms=("cuda",)).as_text()


def test_a_platform_without_cudnn_is_refused():
    with pytest.raises(ValueError, match="needs an NVIDIA GPU, and this is a cpu"):
        lowered()


@pytest.mark.parametrize(
    ("options", "quoted"),
    [
        ({"dtype": jnp.float32}, "needs dtype='bfloat16', not 'float32'"),
        ({"head_dim": 60}, "a multiple of 8 dimensions, 128 at most, not 60"),
        ({"head_dim": 136}, "128 at most, not 136"),
        ({"tokens": 15}, "an even number of tokens .* not 15: 16 would do"),
    ],
)
def test_what_cudnn_cannot_do_is_quoted(options, quoted):
    with jax.sharding.use_abstract_mesh(H100):
        with pytest.raises(ValueError, match=quoted):
            lowered(**options)


@pytest.mark.skipif(not CUDA, reason="JAX lowers for cuDNN only where it is installed")
@pytest.mark.parametrize("masked", [True, False])
def test_lowers_for_cuda(masked):
    with jax.sharding.use_abstract_mesh(H100):
        assert "__cudnn$fmha" in lowered(masked=masked)
