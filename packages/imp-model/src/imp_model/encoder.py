"""The modality-agnostic encoder: a dense stack, then a MoE stack, each one `lax.scan`."""

from collections.abc import Callable

import jax
from flax import nnx
from jaxtyping import Array, Bool, Float

from imp_model.block import Block
from imp_model.config import ModelConfig
from imp_model.init import Init
from imp_model.layers import LayerNorm

_REMAT: dict[str, Callable[..., bool] | None] = {
    "full": jax.checkpoint_policies.nothing_saveable,
    "named": jax.checkpoint_policies.save_only_these_names("attention_out", "ffn_out"),
}


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
        self, x: Float[Array, "b n d"], mask: Bool[Array, "b n"] | None
    ) -> tuple[Float[Array, "b n d"], dict[str, Array]]:
        def body(x: Array, layer: Block) -> tuple[Array, dict[str, Array]]:
            return layer(x, mask)

        if self.config.remat != "none":
            body = jax.checkpoint(body, policy=_REMAT[self.config.remat], prevent_cse=False)
        metrics: dict[str, Array] = {}
        if self.dense is not None:
            x, _ = jax.lax.scan(body, x, self.dense)
        if self.moe is not None:
            x, metrics = jax.lax.scan(body, x, self.moe)
        return self.norm(x), metrics
