"""Experts-choose dispatch, expert feed-forward network and combine, fused: for TPU and for GPU.

Off by default: whether it beats XLA's gather, products and scatter is for `./imp benchmark experts`
to say on the accelerator at hand.
"""

from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float, Int

from imp_model.kernels import experts_gpu, experts_tpu
from imp_model.kernels.gathered import gathered_experts
from imp_model.kernels.platform import platform

_KERNELS = {"tpu": experts_tpu.fused, "gpu": experts_gpu.fused}


def fused_experts(
    x: Float[Array, "g n d"],
    token: Int[Array, "g e c"],
    gates: Float[Array, "g e c"],
    up: Float[Array, "e d f"],
    down: Float[Array, "e f d"],
    *,
    interpret: str | None = None,
) -> Float[Array, "g n d"]:
    """Each token's sum over the slots that hold it, gate times expert, in float32 until the end.

    An expert's slots of a group name different tokens; a slot with gate 0 is empty. The gradient
    recomputes the layer by XLA's products: a fused one would need the weights' gradient, [e, d, f]
    in float32, to stay on chip across all groups.

    `interpret` runs the kernel of "tpu" or "gpu" step by step on any platform, for tests. Else
    raises ValueError on a platform without a kernel, and for shapes that do not fit its memory.
    """
    found = interpret or platform()
    if found not in _KERNELS:
        raise ValueError(
            f"experts='pallas' needs a TPU or a GPU, and this is a {found}: use experts='xla'"
        )
    return _fused(found, interpret is not None, x, token, gates, up, down)


def _call(kernel: str, interpret: bool, *arguments: Array) -> Array:
    return _KERNELS[kernel](*arguments, interpret=interpret)


def _forward(kernel: str, interpret: bool, *arguments: Array) -> tuple[Array, tuple[Array, ...]]:
    return _call(kernel, interpret, *arguments), arguments


def _backward(
    kernel: str, interpret: bool, arguments: tuple[Array, ...], cotangent: Array
) -> tuple[Any, ...]:
    x, token, gates, up, down = arguments
    _, pull = jax.vjp(
        lambda x, gates, up, down: gathered_experts(x, token, gates, up, down), x, gates, up, down
    )
    d_x, d_gates, d_up, d_down = pull(cotangent)
    # A whole number's tangent has no values.
    return d_x, np.zeros(token.shape, jax.dtypes.float0), d_gates, d_up, d_down


_fused = jax.custom_vjp(_call, nondiff_argnums=(0, 1))
_fused.defvjp(_forward, _backward)
