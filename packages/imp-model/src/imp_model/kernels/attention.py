"""Scaled dot-product attention: plain einsums, or cuDNN's fused kernel on NVIDIA GPUs."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from imp_model.kernels.platform import platform

_CUDNN_HEAD_DIM = 128


def attend(
    q: Float[Array, "b n a k"],
    k: Float[Array, "b n a k"],
    v: Float[Array, "b n a k"],
    mask: Bool[Array, "b n"] | None,
    *,
    implementation: str = "xla",
) -> Float[Array, "b n a k"]:
    """Keys outside `mask` are never attended to. The softmax is in float32.

    "xla" keeps [b, a, n, n] in memory. "cudnn" does not, but for a mask's bias in [b, 1, n, n];
    raises ValueError for what it cannot do rather than compute it another way.
    """
    if implementation == "cudnn":
        return _cudnn(q, k, v, mask)
    # As einsums: `jax.nn.dot_product_attention` is the same, and 1.1-1.2 times slower on CPU.
    logits = jnp.einsum("bnak,bmak->banm", q, k, preferred_element_type=jnp.float32)
    logits = logits * q.shape[-1] ** -0.5
    if mask is not None:
        # Finite: a row that is all padding would else be 0 / 0.
        lowest = jnp.finfo(logits.dtype).min
        logits = jnp.where(mask[:, None, None, :], logits, lowest)
    weights = jax.nn.softmax(logits, axis=-1).astype(v.dtype)
    return jnp.einsum("banm,bmak->bnak", weights, v)


def _cudnn(q: Array, k: Array, v: Array, mask: Array | None) -> Array:
    b, n, _, head_dim = q.shape
    if platform() != "gpu":
        raise ValueError(
            f"attention='cudnn' needs an NVIDIA GPU, and this is a {platform()}: "
            "use attention='xla'"
        )
    if q.dtype != jnp.bfloat16:
        raise ValueError(f"attention='cudnn' needs dtype='bfloat16', not {q.dtype.name!r}")
    if head_dim % 8 or head_dim > _CUDNN_HEAD_DIM:
        raise ValueError(
            f"attention='cudnn' needs a head of a multiple of 8 dimensions, "
            f"{_CUDNN_HEAD_DIM} at most, not {head_dim}"
        )
    if mask is not None:
        if n % 2:
            raise ValueError(
                f"attention='cudnn' needs an even number of tokens where some are padding, "
                f"not {n}: {n + 1} would do"
            )
        mask = jnp.broadcast_to(mask[:, None, None, :], (b, 1, n, n))
    return jax.nn.dot_product_attention(q, k, v, mask=mask, implementation="cudnn")
