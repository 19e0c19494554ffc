"""The MoE layer beside the dense feed-forward network of equal FLOPs, forward and backward."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import arms, programs
from imp_model.config import ModelConfig
from imp_model.feed_forward import FeedForward
from imp_model.init import Init
from imp_model.layers import gelu
from imp_model.moe import MoE


@dataclasses.dataclass(frozen=True, kw_only=True)
class MoELayer:
    """Processor time of the MoE layer to that of a dense one, capacity factor 1; prints a table."""

    width: int = 384
    experts: tuple[int, ...] = (4, 16)
    tokens: tuple[int, ...] = (256, 1024, 4096)
    batch: int = 8
    rounds: int = 7

    def run(self) -> None:
        print(f"width {self.width}, batch {self.batch}, float32, medians of {self.rounds} rounds")
        print(
            "| experts | tokens | dense, CPU s | forward | forward and backward "
            "| the experts' products alone |\n|---|---|---|---|---|---|"
        )
        for experts in self.experts:
            for tokens in self.tokens:
                forward, both, products, seconds = self._ratios(experts, tokens)
                print(
                    f"| {experts} | {tokens} | {seconds:.3f} | {forward:.2f} | {both:.2f} "
                    f"| {products:.2f} |",
                    flush=True,
                )

    def _ratios(self, experts: int, tokens: int) -> tuple[float, float, float, float]:
        """Of the forward pass, of both, of both without routing, gather and scatter; and the dense
        layer's CPU seconds of both."""
        config = ModelConfig(
            width=self.width,
            mlp=4 * self.width,
            num_heads=1,
            num_dense_layers=0,
            num_moe_layers=1,
            num_experts=experts,
            dtype="float32",
        )
        moe = MoE(config, Init.seeded(0, "moe"))
        dense = FeedForward(config, Init.seeded(0, "dense"))
        shape = (self.batch, tokens, self.width)
        x = np.random.default_rng(0).standard_normal(shape, np.float32)

        def routed(layer: MoE, x: jax.Array) -> jax.Array:
            return layer(x, None)[0]

        def plain(layer: FeedForward, x: jax.Array) -> jax.Array:
            return layer(x)

        def products(layer: MoE, x: jax.Array) -> jax.Array:
            taken = x.reshape(experts, -1, self.width)
            hidden = gelu(jnp.einsum("esd,edf->esf", taken, layer.up[...]))
            return jnp.einsum("esf,efd->esd", hidden, layer.down[...])

        forward = {
            "moe": programs.compiled(routed, moe, x),
            "dense": programs.compiled(plain, dense, x),
        }
        both = {
            "moe": programs.compiled(programs.value_and_gradient(routed), moe, x),
            "dense": programs.compiled(programs.value_and_gradient(plain), dense, x),
            "products": programs.compiled(programs.value_and_gradient(products), moe, x),
        }
        once, twice = (programs.in_turns(arm, rounds=self.rounds) for arm in (forward, both))
        return (
            arms.ratio(once["moe"], once["dense"]),
            arms.ratio(twice["moe"], twice["dense"]),
            arms.ratio(twice["products"], twice["dense"]),
            arms.median_cpu(twice["dense"]),
        )
