"""Text embedder: a token table and 1-D positions (T5 SentencePiece ids; 0 is padding)."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from imp_model.config import ModelConfig
from imp_model.layers import Linear
from imp_model.positions import TextPositions


class TextEmbedder(nnx.Module):
    """int32 ids [b, n] -> tokens [b, n, d]."""

    def __init__(self, config: ModelConfig, *, rngs: nnx.Rngs) -> None:
        self.config = config
        init = jax.nn.initializers.normal(1.0)
        table = init(rngs.params(), (config.vocab_size, config.width))
        self.table = nnx.Param(table, out_sharding=("vocab", "embed"))
        self.positions = TextPositions(config.text_positions, config.width, rngs=rngs)
        self.project = Linear(config.width, config.width, axes=("embed", "embed_out"), rngs=rngs)

    def __call__(self, ids: Int[Array, "b n"]) -> Float[Array, "b n d"]:
        tokens = self.table[...][ids] + self.positions(ids.shape[1])
        return self.project(tokens.astype(jnp.dtype(self.config.dtype)))
