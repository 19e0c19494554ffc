"""Text embedder: a token table and 1-D positions (T5 SentencePiece ids; 0 is padding)."""

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from imp_model import sharding
from imp_model.config import ModelConfig
from imp_model.init import Init
from imp_model.layers import Linear
from imp_model.positions import TextPositions


class TextEmbedder(nnx.Module):
    """int32 ids [b, n] -> tokens [b, n, d]."""

    def __init__(self, config: ModelConfig, init: Init) -> None:
        self.config = config
        self.table = init.normal((config.vocab_size, config.width), 1.0, ("vocab", "embed"))
        self.positions = TextPositions(config.text_positions, config.width, init)
        self.project = Linear(config.width, config.width, init, axes=("embed", "embed_out"))

    def __call__(self, ids: Int[Array, "b n"]) -> Float[Array, "b n d"]:
        tokens = sharding.at_use(self.table)[ids] + self.positions(ids.shape[1])
        return self.project(tokens.astype(jnp.dtype(self.config.dtype)))
