"""The modality-agnostic encoder: dense and MoE blocks, each stack one `lax.scan`."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Key

from imp_model import remat
from imp_model.block import Block
from imp_model.config import ModelConfig
from imp_model.init import Init
from imp_model.layers import LayerNorm


class Encoder(nnx.Module):
    """[b, n, d] -> [b, n, d], LayerNormed, and the routers' metrics stacked over MoE layers."""

    def __init__(self, config: ModelConfig, init: Init) -> None:
        self.config = config
        dense, moe = config.num_dense_layers, config.num_moe_layers
        # A stack is one Block whose every parameter has a leading 'layers' axis, for `lax.scan`.
        self.dense = nnx.data(Block(config, init.stack(dense), moe=False) if dense else None)
        self.moe = nnx.data(Block(config, init.stack(moe), moe=True) if moe else None)
        self.norm = LayerNorm(config.width, init)

    def __call__(
        self,
        x: Float[Array, "b n d"],
        mask: Bool[Array, "b n"] | None,
        key: Key[Array, ""] | None = None,
    ) -> tuple[Float[Array, "b n d"], dict[str, Array]]:
        """`key` draws the routers' noise in training, where they have any."""
        c = self.config
        keys = None
        if key is not None and c.num_moe_layers:
            keys = jax.random.split(key, c.num_moe_layers)
        # Each run is scanned: what one of its steps passes is a block of every stack in it.
        runs = [{"dense": self.dense}, {"moe": self.moe, "key": keys}]
        if c.moe_placement == "every_second":
            runs = [runs[0] | runs[1]]

        def block(x: Array, layer: Block, key: Array | None) -> tuple[Array, dict[str, Array]]:
            return layer(x, mask, key)

        if c.remat != "none":
            # A scan's body is safe from common subexpressions; unrolled layers are not.
            block = jax.checkpoint(
                block, policy=remat.policy(c.remat), prevent_cse=c.layers == "unroll"
            )

        def step(x: Array, layers: dict[str, Any]) -> tuple[Array, dict[str, Array]]:
            metrics: dict[str, Array] = {}
            for name in ("dense", "moe"):
                if layers.get(name) is not None:
                    x, metrics = block(x, layers[name], layers.get("key"))
            return x, metrics

        metrics: dict[str, Array] = {}
        for run in runs:
            if jax.tree.leaves(run):
                x, metrics = (jax.lax.scan if c.layers == "scan" else _unrolled)(step, x, run)
        return self.norm(x), metrics


def _unrolled(step: Callable[..., Any], x: Array, stack: Any) -> tuple[Array, Any]:
    """`lax.scan`, written out: for comparison, as it takes so much longer to compile."""
    found = []
    for i in range(len(jax.tree.leaves(stack)[0])):
        x, metrics = step(x, jax.tree.map(lambda leaf, i=i: leaf[i], stack))
        found.append(metrics)
    return x, jax.tree.map(lambda *values: jnp.stack(values), *found)
