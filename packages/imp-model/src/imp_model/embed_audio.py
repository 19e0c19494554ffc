"""Audio embedder: 16x16 patches of a log-mel spectrogram (AudioMAE)."""

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Key

from imp_model.config import ModelConfig, check_divides
from imp_model.drop_token import kept_indices
from imp_model.init import Init
from imp_model.layers import Linear
from imp_model.patches import PatchProjection
from imp_model.positions import FactorisedPositions

# log(x + 1e-6) lies in about [-14, 6]; these bring it near zero mean and unit variance.
_MEAN, _STD = -6.0, 5.0


class AudioEmbedder(nnx.Module):
    """float32 log-mel [b, frames, mels] -> tokens [b, n, d]."""

    def __init__(self, config: ModelConfig, init: Init) -> None:
        self.config = config
        pt, pf = config.audio_patch
        self.patch = PatchProjection(
            pt * pf, config.width, init, epsilon=0.25, dtype=jnp.dtype(config.dtype)
        )
        self.positions = FactorisedPositions(config.audio_positions, config.width, init)
        self.project = Linear(config.width, config.width, init, axes=("embed", "embed_out"))

    def __call__(
        self,
        spectrogram: Float[Array, "b frames mels"],
        *,
        drop: float = 0.0,
        key: Key[Array, ""] | None = None,
    ) -> Float[Array, "b s d"]:
        c = self.config
        pt, pf = c.audio_patch
        b, frames, mels = spectrogram.shape
        check_divides("audio", (frames, mels), (pt, pf))
        x = (spectrogram - _MEAN) / _STD
        x = x.reshape(b, frames // pt, pt, mels // pf, pf).transpose(0, 1, 3, 2, 4)
        x = x.reshape(b, -1, pt * pf)
        positions = jnp.broadcast_to(
            self.positions((frames // pt, mels // pf)), (b, x.shape[1], c.width)
        )
        if drop:
            assert key is not None, "DropToken needs a key"
            index = kept_indices(key, b, x.shape[1], drop)[..., None]
            x = jnp.take_along_axis(x, index, axis=1)
            positions = jnp.take_along_axis(positions, index, axis=1)
        x = self.patch(x)
        return self.project(x + positions.astype(x.dtype))
