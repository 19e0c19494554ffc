"""Rematerialisation by name: what a layer keeps for its backward pass (IMP section 3.1.1).

Every layer's input is kept; the rest is what the policy names. At width 192, 4 dense + 4 MoE layers
of 4 experts, 16 x 256 tokens (XLA's CPU backend; temporaries, and FLOPs of the gradient):

    none      740 MiB  106 GFLOPs   everything but the insides of LayerNorm and GELU
    products  354      113          the results of all products but attention's logits
    named     282      120          those that are costly for their size: all but query, key, value
    lean      198      130          attention's and the experts' outputs, as small as it goes
    full      165      137          nothing, the paper's

`full` recomputes the experts' outputs only for the gradient of their gates: 6 MiB here spare that.
"""

from collections.abc import Callable

import jax

_LEAN = ("attention_out", "expert_out", "routing")
_NAMED = (*_LEAN, "ffn_up", "expert_up")
SAVED: dict[str, tuple[str, ...]] = {
    "full": (),
    "lean": _LEAN,
    "named": _NAMED,
    "products": (*_NAMED, "qkv"),
}


def policy(name: str) -> Callable[..., bool]:
    """`name` is a ModelConfig.remat other than "none"."""
    return jax.checkpoint_policies.save_only_these_names(*SAVED[name])
