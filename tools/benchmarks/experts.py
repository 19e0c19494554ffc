"""The fused experts beside XLA's gather, products and scatter, on the accelerator at hand."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import arms, programs
from imp_model.config import size
from imp_model.kernels.experts import fused_experts
from imp_model.kernels.gathered import gathered_experts


@dataclasses.dataclass(frozen=True, kw_only=True)
class Experts:
    """Time of the fused kernel to that of XLA's programs; a ratio below 1 is a gain. Prints a
    table."""

    models: tuple[str, ...] = ("imp-moe-b", "imp-moe-l")
    tokens: tuple[int, ...] = (256, 512)
    examples: int = 64
    rounds: int = 9
    interpret: str | None = None
    """"tpu" or "gpu": that kernel, step by step on CPU; says nothing of its speed."""

    def run(self) -> None:
        kind = jax.devices()[0].device_kind
        print(f"{kind}, {self.examples} examples, bfloat16, medians of {self.rounds} rounds")
        print("| model | tokens | XLA, ms | forward | forward and backward |")
        print("|---|---|---|---|---|")
        for model in self.models:
            for tokens in self.tokens:
                forward, both, seconds = self._ratios(model, tokens)
                print(f"| {model} | {tokens} | {1e3 * seconds:.2f} | {forward:.2f} | {both:.2f} |")

    def _ratios(self, model: str, tokens: int) -> tuple[float, float, float]:
        """Of wall time: of the forward pass, of both; and XLA's seconds of both."""
        config = size(model)
        d, f, e = config.width, config.mlp, config.num_experts
        c = config.capacity(tokens)
        rng = np.random.default_rng(0)
        order = rng.permuted(np.broadcast_to(np.arange(tokens), (self.examples, e, tokens)), axis=2)
        token = jnp.asarray(order[..., :c], jnp.int32)
        gates = jnp.asarray(rng.random(token.shape, np.float32))
        x, up, down = (
            jnp.asarray(rng.standard_normal(shape, np.float32) * std, jnp.bfloat16)
            for shape, std in (
                ((self.examples, tokens, d), 1.0),
                ((e, d, f), d**-0.5),
                ((e, f, d), f**-0.5),
            )
        )

        def fused(x: jax.Array, gates: jax.Array, up: jax.Array, down: jax.Array) -> jax.Array:
            return fused_experts(x, token, gates, up, down, interpret=self.interpret)

        def xla(x: jax.Array, gates: jax.Array, up: jax.Array, down: jax.Array) -> jax.Array:
            return gathered_experts(x, token, gates, up, down)

        once, twice = (
            programs.in_turns(
                {
                    name: programs.compiled(change(function), x, gates, up, down)
                    for name, function in (("fused", fused), ("xla", xla))
                },
                rounds=self.rounds,
            )
            for change in (lambda function: function, programs.value_and_gradient)
        )
        return (
            arms.wall_ratio(once["fused"], once["xla"]),
            arms.wall_ratio(twice["fused"], twice["xla"]),
            arms.median_wall(twice["xla"]),
        )
