"""Heads: what turns a pooled encoding into embeddings and logits."""

import math

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

from imp_model.init import Init
from imp_model.layers import LayerNorm, Linear, gelu


def masked_mean(x: Float[Array, "b n d"], mask: Bool[Array, "b n"] | None) -> Float[Array, "b d"]:
    """Mean over the valid tokens, in float32."""
    x = x.astype(jnp.float32)
    if mask is None:
        return x.mean(1)
    weight = mask.astype(jnp.float32)[..., None]
    return (x * weight).sum(1) / jnp.maximum(weight.sum(1), 1.0)


class ContrastiveHead(nnx.Module):
    """One direction of a modality pair: width, GELU, width, LayerNorm, L2 norm."""

    def __init__(self, width: int, init: Init) -> None:
        self.up = Linear(width, width, init, axes=("embed", "mlp"))
        self.down = Linear(width, width, init, axes=("mlp", "embed"))
        self.norm = LayerNorm(width, init)

    def __call__(self, x: Float[Array, "b d"]) -> Float[Array, "b d"]:
        x = self.norm(self.down(gelu(self.up(x))))
        return x * jax.lax.rsqrt(jnp.square(x).sum(-1, keepdims=True) + 1e-12)


class Temperature(nnx.Module):
    """A learned inverse temperature, stored as its log: a raw one stops learning at 0."""

    def __init__(self, init: Init, initial: float = 1 / 0.07) -> None:
        self.log_scale = init.constant((), math.log(initial), ())

    def __call__(self) -> Float[Array, ""]:
        return jnp.exp(jnp.minimum(self.log_scale[...], jnp.log(100.0)))
