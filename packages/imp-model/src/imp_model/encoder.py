"""The modality-agnostic encoder: a dense stack, then a MoE stack, each one `lax.scan`."""

from collections.abc import Callable

import jax
from flax import nnx
from jaxtyping import Array, Bool, Float

from imp_model.block import Block
from imp_model.config import ModelConfig
from imp_model.layers import LayerNorm

_REMAT: dict[str, Callable[..., bool] | None] = {
    "full": jax.checkpoint_policies.nothing_saveable,
    "named": jax.checkpoint_policies.save_only_these_names("attention_out", "ffn_out"),
}


def _stack(config: ModelConfig, depth: int, *, moe: bool, rngs: nnx.Rngs) -> Block:
    """`depth` blocks as one, every parameter with a leading 'layers' axis."""
    init = nnx.vmap(
        lambda r: Block(config, moe=moe, rngs=r), transform_metadata={nnx.PARTITION_NAME: "layers"}
    )
    return nnx.split_rngs(splits=depth)(init)(rngs)


class Encoder(nnx.Module):
    """[b, n, d] -> [b, n, d], LayerNormed, and the routers' metrics stacked over MoE layers."""

    def __init__(self, config: ModelConfig, *, rngs: nnx.Rngs) -> None:
        self.config = config
        dense, moe = config.num_dense_layers, config.num_moe_layers
        self.dense = nnx.data(_stack(config, dense, moe=False, rngs=rngs) if dense else None)
        self.moe = nnx.data(_stack(config, moe, moe=True, rngs=rngs) if moe else None)
        self.norm = LayerNorm(config.width)

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
