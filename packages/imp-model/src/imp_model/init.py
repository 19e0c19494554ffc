"""Init: draws parameters on the host, so that a seed means the same values on every platform.

Compiling a random kernel for each shape takes XLA's CPU backend tens of seconds; NumPy takes none.
"""

import hashlib
import math

import jax.numpy as jnp
import numpy as np
from flax import nnx

Axes = tuple[str | None, ...]


class Init:
    """Makes Params with logical axes; inside a layer stack, with a leading 'layers' axis."""

    def __init__(self, rng: np.random.Generator | None, depth: int | None = None) -> None:
        self._rng = rng
        self._prefix = () if depth is None else (depth,)

    @classmethod
    def seeded(cls, seed: int, name: str) -> "Init":
        """Parts draw from streams of their own: adding one leaves the others as they are."""
        key = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")
        return cls(np.random.Generator(np.random.Philox(key=[seed, key])))

    @classmethod
    def zeros(cls) -> "Init":
        """Draws nothing: for abstract models, under `jax.eval_shape`."""
        return cls(None)

    def stack(self, depth: int) -> "Init":
        return Init(self._rng, depth)

    def normal(self, shape: tuple[int, ...], std: float, axes: Axes) -> nnx.Param:
        shape = (*self._prefix, *shape)
        if self._rng is None:
            return self._param(jnp.zeros(shape), axes)
        return self._param(jnp.asarray(self._rng.standard_normal(shape, np.float32) * std), axes)

    def fan_in(self, shape: tuple[int, ...], axes: Axes) -> nnx.Param:
        """Variance 1 / fan-in, where the fan-in is the second to last dimension."""
        return self.normal(shape, 1 / math.sqrt(shape[-2]), axes)

    def constant(self, shape: tuple[int, ...], value: float, axes: Axes) -> nnx.Param:
        return self._param(jnp.full((*self._prefix, *shape), value, jnp.float32), axes)

    def _param(self, value: jnp.ndarray, axes: Axes) -> nnx.Param:
        axes = ("layers",) * len(self._prefix) + axes
        # Axes stay metadata here: which mesh they map to is the trainer's affair.
        with nnx.use_eager_sharding(False):
            return nnx.Param(value, out_sharding=axes)
