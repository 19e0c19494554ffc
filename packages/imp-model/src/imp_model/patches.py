"""PatchProjection: a patch's values to the width, its shape apart from its level and spread."""

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from imp_model import sharding
from imp_model.init import Init

# The level and the spread count for as much as 64 of the patch's values.
LEVEL_GAIN = 8.0


class PatchProjection(nnx.Module):
    """float32 patches [b, n, p] -> [b, n, d] in `dtype`.

    Each patch is standardised, as in Dual PatchNorm (Kumar et al. 2023): what all patches have in
    common, a bright page or a loud clip, else drowns what tells them apart, and gradient descent
    spends hundreds of steps on it. Loudness and colour do mean something, so the patch's mean and
    deviation come in as two values of their own. `epsilon` is a variance: patches of less are
    noise or blank, and stay small.
    """

    def __init__(
        self, size: int, width: int, init: Init, *, epsilon: float, dtype: jnp.dtype
    ) -> None:
        self.kernel = init.fan_in((size, width), ("patch", "embed"))
        self.level = init.normal((2, width), 0.5 / LEVEL_GAIN, (None, "embed"))
        self.epsilon, self.dtype = epsilon, dtype

    def __call__(self, x: Float[Array, "b n p"], *, tiles: int = 1) -> Float[Array, "b n d"]:
        """With `tiles`, x [b, n, p / tiles] stands for a patch that repeats it so many times."""
        kernel = sharding.at_use(self.kernel)
        if tiles > 1:
            # The same product as that of the tiled patch.
            kernel = kernel.reshape(tiles, -1, kernel.shape[-1]).sum(0)
        mean = x.mean(-1, keepdims=True)
        x = x - mean
        deviation = jnp.sqrt(jnp.square(x).mean(-1, keepdims=True) + self.epsilon)
        level = LEVEL_GAIN * jnp.concatenate([mean, deviation], -1)
        x = (x / deviation).astype(self.dtype)
        # One flat matrix product: the 3-D form's gradient is far slower on XLA's CPU backend.
        shape = x.reshape(-1, x.shape[-1]) @ kernel.astype(self.dtype)
        level = level.astype(self.dtype) @ sharding.at_use(self.level, self.dtype)
        return shape.reshape(level.shape) + level
