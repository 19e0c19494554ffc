"""What every block is made of: Linear without bias, LayerNorm and GELU."""

import functools

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from imp_model import sharding
from imp_model.init import Init


class Linear(nnx.Module):
    """x @ kernel, no bias. `axes` are the kernel's logical axes (see sharding)."""

    def __init__(self, d_in: int, d_out: int, init: Init, *, axes: tuple[str, str]) -> None:
        self.kernel = init.fan_in((d_in, d_out), axes)

    def __call__(self, x: Float[Array, "... i"]) -> Float[Array, "... o"]:
        # One flat matrix product: the 3-D form's gradient is far slower on XLA's CPU backend.
        kernel = sharding.at_use(self.kernel, x.dtype)
        return (x.reshape(-1, x.shape[-1]) @ kernel).reshape(*x.shape[:-1], -1)


class LayerNorm(nnx.Module):
    """Normalises the last dimension in float32; a scale, no bias."""

    def __init__(self, dim: int, init: Init, *, epsilon: float = 1e-6) -> None:
        self.scale = init.constant((dim,), 1.0, ("norm",))
        self.epsilon = epsilon

    def __call__(self, x: Float[Array, "... d"]) -> Float[Array, "... d"]:
        return _normalised(x, self.scale[...], self.epsilon)


@functools.partial(jax.checkpoint, static_argnums=2)
def _normalised(x: Array, scale: Array, epsilon: float) -> Array:
    """Recomputed in the backward pass, as `gelu`: its own float32 copies cost more to keep."""
    y = x.astype(jnp.float32)
    y = y - y.mean(-1, keepdims=True)
    y = y * jax.lax.rsqrt(jnp.square(y).mean(-1, keepdims=True) + epsilon)
    return (y * scale).astype(x.dtype)


@jax.checkpoint
def gelu(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """The tanh approximation, recomputed in the backward pass: cheaper than reading it back."""
    return jax.nn.gelu(x, approximate=True)
