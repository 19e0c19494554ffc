"""Vision embedder: 4x16x16 tubelets; an image is one frame tiled in time."""

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Key, UInt8

from imp_model.config import ModelConfig, check_divides
from imp_model.drop_token import kept_indices
from imp_model.init import Init
from imp_model.layers import Linear
from imp_model.patches import PatchProjection
from imp_model.positions import FactorisedPositions


def tubelets(
    video: UInt8[Array, "b frames height width 3"], patch: tuple[int, int, int]
) -> UInt8[Array, "b n p"]:
    """[b, n, pt*ph*pw*3], tokens in (t, h, w) order, values in (t, h, w, channel) order."""
    b, frames, height, width, _ = video.shape
    pt, ph, pw = patch
    check_divides("vision", (frames, height, width), patch)
    t, h, w = frames // pt, height // ph, width // pw
    x = video.reshape(b, t, pt, h, ph, w, pw, 3).transpose(0, 1, 3, 5, 2, 4, 6, 7)
    return x.reshape(b, t * h * w, pt * ph * pw * 3)


class VisionEmbedder(nnx.Module):
    """uint8 image [b, h, w, 3] or video [b, t, h, w, 3] -> tokens [b, n, d]."""

    def __init__(self, config: ModelConfig, init: Init) -> None:
        self.config = config
        pt, ph, pw = config.patch
        self.patch = PatchProjection(
            pt * ph * pw * 3, config.width, init, epsilon=0.1, dtype=jnp.dtype(config.dtype)
        )
        self.positions = FactorisedPositions(config.vision_positions, config.width, init)
        self.project = Linear(config.width, config.width, init, axes=("embed", "embed_out"))

    def __call__(
        self,
        pixels: UInt8[Array, "b *frames height width 3"],
        *,
        drop: float = 0.0,
        key: Key[Array, ""] | None = None,
    ) -> Float[Array, "b s d"]:
        c = self.config
        pt, ph, pw = c.patch
        is_image = pixels.ndim == 4
        x = tubelets(pixels[:, None], (1, ph, pw)) if is_image else tubelets(pixels, c.patch)
        frames = 1 if is_image else pixels.shape[1] // pt
        sizes = (frames, pixels.shape[-3] // ph, pixels.shape[-2] // pw)
        positions = jnp.broadcast_to(self.positions(sizes), (x.shape[0], x.shape[1], c.width))
        if drop:
            assert key is not None, "DropToken needs a key"
            index = kept_indices(key, x.shape[0], x.shape[1], drop)[..., None]
            # Dropped before the patch product, so that it is saved as well.
            x = jnp.take_along_axis(x, index, axis=1)
            positions = jnp.take_along_axis(positions, index, axis=1)
        x = self.patch(x.astype(jnp.float32) / 127.5 - 1.0, tiles=pt if is_image else 1)
        return self.project(x + positions.astype(x.dtype))
