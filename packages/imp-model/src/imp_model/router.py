"""Routing (IMP section 4.1): which tokens each expert takes of a group, and with what gate.

Experts-choose is the paper's: each expert takes its top-c tokens. Tokens-choose (V-MoE, Riquelme
et al. 2021) is its comparison: each token names its top-k experts, and an expert that more than c
tokens name takes the first c by priority. Both fill the same [expert, slot] table.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Array, Bool, Float, Int, Key, Shaped

from imp_model import router_losses
from imp_model.config import ModelConfig
from imp_model.init import Init


class Routing(NamedTuple):
    """Slot by slot the token an expert takes and its gate, 0 where the slot is left over."""

    token: Int[Array, "g e c"]
    gates: Float[Array, "g e c"]
    metrics: dict[str, Array]


class Router(nnx.Module):
    """A bias-free float32 projection and a softmax over experts, whose probability is the gate.

    Padding is never chosen, takes no capacity and has no gate. `key` draws tokens-choose's noise;
    without one (in evaluation) there is none, and no load loss.
    """

    def __init__(self, config: ModelConfig, init: Init) -> None:
        self.config = config
        self.kernel = init.normal((config.width, config.num_experts), 0.02, ("embed", None))

    def __call__(
        self,
        x: Float[Array, "g n d"],
        mask: Bool[Array, "g n"] | None,
        key: Key[Array, ""] | None = None,
    ) -> Routing:
        return self.route(x, mask, self.noise(key, *x.shape[:2]))

    def noise(
        self, key: Key[Array, ""] | None, groups: int, tokens: int
    ) -> Float[Array, "g e n"] | None:
        """Standard normal, for all groups at once; None where none is drawn."""
        if key is None or not self.config.draws_noise:
            return None
        return jax.random.normal(key, (groups, self.config.num_experts, tokens))

    def route(
        self,
        x: Float[Array, "g n d"],
        mask: Bool[Array, "g n"] | None,
        noise: Float[Array, "g e n"] | None,
    ) -> Routing:
        c, capacity = self.config, self.config.capacity(x.shape[1])
        # HIGHEST: a router in reduced precision flips slots.
        logits = jnp.einsum(
            "gnd,de->gen",
            x.astype(jnp.float32),
            self.kernel[...],
            precision=jax.lax.Precision.HIGHEST,
        )
        losses: dict[str, Array] = {}
        noisy = logits
        if c.router == "experts_choose":
            probs = jax.nn.softmax(logits, axis=1)
            token, live = experts_choose(probs, mask, capacity)
        else:
            std = c.router_noise / c.num_experts if noise is not None else 0.0
            if noise is not None:
                noisy = logits + std * noise
            probs = jax.nn.softmax(noisy, axis=1)
            choose = tokens_choose if c.overflow == "drop" else tokens_choose_on
            token, live = choose(probs, mask, capacity, top_k=c.top_k, priority=c.capacity_priority)
            losses = router_losses.losses(c, logits, noisy, std, mask)
        # Named for rematerialisation: probabilities recomputed with another rounding could flip a
        # slot, and the gradient would be that of another routing.
        token, live = checkpoint_name((token, live), "routing")
        if c.gates == "normalised":
            gates = normalised(noisy, token, live)
        else:
            gates = jnp.where(live, jnp.take_along_axis(probs, token, axis=2), 0.0)
        return Routing(token, gates, _metrics(probs, token, gates, mask) | losses)


def experts_choose(
    probs: Float[Array, "g e n"], mask: Bool[Array, "g n"] | None, capacity: int
) -> tuple[Int[Array, "g e c"], Bool[Array, "g e c"]]:
    """Each expert's `capacity` most probable tokens, and which slots hold one."""
    probs = jax.lax.stop_gradient(probs)
    if mask is not None:
        probs = jnp.where(mask[:, None, :], probs, -jnp.inf)
    best, token = jax.lax.top_k(probs, capacity)
    return token, jnp.isfinite(best)


def tokens_choose(
    probs: Float[Array, "g e n"],
    mask: Bool[Array, "g n"] | None,
    capacity: int,
    *,
    top_k: int,
    priority: str,
) -> tuple[Int[Array, "g e c"], Bool[Array, "g e c"]]:
    """Each token's `top_k` most probable experts, as far as these have slots.

    All first choices come before any second. Among equals, `priority="order"` serves tokens as they
    stand, so that the last of an input go without; "score" serves the most decided first (V-MoE's
    batch priority, here within a group).
    """
    g, e, n = probs.shape
    probs = jax.lax.stop_gradient(probs)
    best, choice = jax.lax.top_k(probs.transpose(0, 2, 1), top_k)
    named = choice[..., None] == jnp.arange(e)
    rank = (named * jnp.arange(top_k)[:, None]).sum(2)
    chosen = named.any(2)
    if mask is not None:
        chosen &= mask[..., None]
    place = jnp.broadcast_to(jnp.arange(n), (g, n))
    if priority == "score":
        # The inverse of a permutation is its argsort.
        place = jnp.argsort(jnp.argsort(-best[..., 0], axis=1), axis=1)
    # Positive integers, larger where served sooner; 0 for whom the expert is not named by.
    urgency = jnp.where(chosen, top_k * n - (rank * n + place[..., None]), 0)
    served, token = jax.lax.top_k(urgency.transpose(0, 2, 1), capacity)
    return token, served > 0


def tokens_choose_on(
    probs: Float[Array, "g e n"],
    mask: Bool[Array, "g n"] | None,
    capacity: int,
    *,
    top_k: int,
    priority: str,
) -> tuple[Int[Array, "g e c"], Bool[Array, "g e c"]]:
    """`tokens_choose`, but a token that an expert has no slot for asks its next one.

    (Switch Transformers' no-token-left-behind, Fedus et al. 2021.) All tokens have a first expert
    before any has a second, so with as many slots as tokens none goes without: it was refused by
    all only if all were full, and then of others.
    """
    g, e, n = probs.shape
    probs = jax.lax.stop_gradient(probs).transpose(0, 2, 1)
    valid = jnp.ones((g, n), bool) if mask is None else mask
    if priority == "score":
        # Tokens stand in the order in which they are served, until the end.
        served = jnp.argsort(-probs.max(2), axis=1)
        probs, valid = jax.tree.map(lambda x: _rows(x, served), (probs, valid))
    preferred = jnp.argsort(-probs, axis=2)

    def ask(turn: Array, state: tuple[Array, Array]) -> tuple[Array, Array]:
        asked, taken = state
        asks = valid & (taken.sum(2) <= turn // e) & (asked < e)
        expert = _rows(preferred, jnp.minimum(asked, e - 1)[..., None], 2)
        named = asks[..., None] & (expert == jnp.arange(e))
        room = capacity - taken.sum(1, keepdims=True)
        return asked + asks, taken | (named & (jnp.cumsum(named, axis=1) <= room))

    # Made of `probs`: over a mesh the loop's state is each device's own from the start.
    none = probs < 0
    _, taken = jax.lax.fori_loop(0, top_k * e, ask, (none.sum(2, dtype=jnp.int32), none))
    if priority == "score":
        taken = _rows(taken, jnp.argsort(served, axis=1))
    live, token = jax.lax.top_k(taken.transpose(0, 2, 1).astype(jnp.int32), capacity)
    return token, live > 0


def _rows(x: Shaped[Array, "g n *e"], index: Int[Array, "g n *one"], axis: int = 1) -> Array:
    return jnp.take_along_axis(x, index.reshape(*index.shape, *[1] * (x.ndim - index.ndim)), axis)


def normalised(
    logits: Float[Array, "g e n"], token: Int[Array, "g e c"], live: Bool[Array, "g e c"]
) -> Float[Array, "g e c"]:
    """Each token's gates as a softmax over the experts that took it: they sum to 1.

    Of logits, not of probabilities: a sole expert's gate is 1 however improbable it was.
    """
    g, _, n = logits.shape
    at = (jnp.arange(g)[:, None, None], token)
    chosen = jnp.take_along_axis(logits, token, axis=2)
    top = jnp.full((g, n), -jnp.inf).at[at].max(jnp.where(live, chosen, -jnp.inf))[at]
    weight = jnp.where(live, jnp.exp(jnp.where(live, chosen - jax.lax.stop_gradient(top), 0)), 0)
    total = jnp.zeros((g, n)).at[at].add(weight)[at]
    return weight / jnp.where(live, total, 1.0)


def _metrics(
    probs: Float[Array, "g e n"],
    token: Int[Array, "g e c"],
    gates: Float[Array, "g e c"],
    mask: Bool[Array, "g n"] | None,
) -> dict[str, Array]:
    """Group by group: `expert_load` [g, e], each expert's share of the gate weight;
    `dropped_tokens` [g], the share of tokens that no expert took; `gate_entropy` [g] in nats.

    Of one modality's tokens, `expert_load` is the experts' affinity to that modality.
    """
    probs, gates = jax.lax.stop_gradient((probs, gates))
    g, _, n = probs.shape
    valid = jnp.ones((g, n), bool) if mask is None else mask
    count = jnp.maximum(valid.sum(1), 1)
    taken = jnp.zeros((g, n), bool).at[jnp.arange(g)[:, None, None], token].max(gates > 0)
    safe = jnp.where(valid[:, None, :], jnp.maximum(probs, 1e-9), 1.0)
    load = gates.sum(2)
    return {
        "expert_load": load / jnp.maximum(load.sum(1, keepdims=True), 1e-9),
        "dropped_tokens": (valid & ~taken).sum(1) / count,
        "gate_entropy": -(safe * jnp.log(safe)).sum((1, 2)) / count,
    }
