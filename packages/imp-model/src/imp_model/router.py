"""Experts-choose routing (IMP section 4.1): each expert takes its top-c tokens of a group."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from imp_model.config import ModelConfig
from imp_model.init import Init


class ExpertsChoose(nnx.Module):
    """A bias-free float32 projection and a softmax over experts; the gate is not renormalised."""

    def __init__(self, config: ModelConfig, init: Init) -> None:
        self.config = config
        self.kernel = init.normal((config.width, config.num_experts), 0.02, ("embed", None))

    def __call__(
        self, x: Float[Array, "g n d"], mask: Bool[Array, "g n"] | None
    ) -> tuple[Int[Array, "g e c"], Float[Array, "g e c"], dict[str, Array]]:
        """Token indices and gates, expert by expert, and the router's metrics.

        Padding is masked before the top-c and its gate is zero, so it can neither win a slot
        from a token nor add to the output where slots are left over.
        """
        # HIGHEST: a router in reduced precision flips slots.
        logits = jnp.einsum(
            "gnd,de->gen",
            x.astype(jnp.float32),
            self.kernel[...],
            precision=jax.lax.Precision.HIGHEST,
        )
        probs = jax.nn.softmax(logits, axis=1)
        if mask is not None:
            probs = jnp.where(mask[:, None, :], probs, -jnp.inf)
        gates, index = jax.lax.top_k(probs, self.config.capacity(x.shape[1]))
        gates = jnp.where(jnp.isfinite(gates), gates, 0.0)
        return index, gates, _metrics(probs, index, gates, mask)


def _metrics(
    probs: Float[Array, "g e n"],
    index: Int[Array, "g e c"],
    gates: Float[Array, "g e c"],
    mask: Bool[Array, "g n"] | None,
) -> dict[str, Array]:
    """Group by group: `expert_load` [g, e], each expert's share of the gate weight;
    `dropped_tokens` [g], the share of tokens that no expert took; `gate_entropy` [g] in nats."""
    probs, gates = jax.lax.stop_gradient((probs, gates))
    valid = jnp.ones((probs.shape[0], probs.shape[2]), bool) if mask is None else mask
    count = jnp.maximum(valid.sum(1), 1)
    taken = ((index[..., None] == jnp.arange(probs.shape[2])) & (gates > 0)[..., None]).any((1, 2))
    safe = jnp.where(valid[:, None, :], jnp.maximum(probs, 1e-9), 1.0)
    load = gates.sum(2)
    return {
        "expert_load": load / jnp.maximum(load.sum(1, keepdims=True), 1e-9),
        "dropped_tokens": (valid & ~taken).sum(1) / count,
        "gate_entropy": -(safe * jnp.log(safe)).sum((1, 2)) / count,
    }
