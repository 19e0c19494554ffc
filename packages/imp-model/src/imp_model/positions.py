"""Learnable positions (IMP section 3.3): factorised tables, dilated over resolutions."""

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from imp_model import sharding
from imp_model.init import Init
from imp_model.layers import LayerNorm


class FactorisedPositions(nnx.Module):
    """One table per dimension (t, h, w for vision; time, frequency for audio), summed, LayerNormed.

    Dilated: index = floor(i / size * buckets), so every resolution spans the whole table.
    """

    def __init__(self, buckets: tuple[int, ...], width: int, init: Init) -> None:
        self.buckets = buckets
        self.tables = nnx.List([init.normal((b, width), 0.02, (None, "embed")) for b in buckets])
        self.norm = LayerNorm(width, init)

    def __call__(self, sizes: tuple[int, ...]) -> Float[Array, "n d"]:
        total = jnp.zeros((1, self.tables[0].shape[-1]))
        for table, size, buckets in zip(self.tables, sizes, self.buckets, strict=True):
            if size > buckets:
                raise ValueError(
                    f"{sizes} patches exceed the position table's {self.buckets}; at most that "
                    "many fit"
                )
            index = np.arange(size) * buckets // size
            rows = sharding.at_use(table)[index]
            total = (total[:, None] + rows[None]).reshape(-1, total.shape[-1])
        return self.norm(total)


class TextPositions(nnx.Module):
    """A 1-D table, not dilated."""

    def __init__(self, length: int, width: int, init: Init) -> None:
        self.table = init.normal((length, width), 0.02, (None, "embed"))
        self.norm = LayerNorm(width, init)

    def __call__(self, length: int) -> Float[Array, "n d"]:
        if length > self.table.shape[0]:
            raise ValueError(
                f"text length {length} exceeds the position table's {self.table.shape[0]}"
            )
        return self.norm(sharding.at_use(self.table)[:length])
