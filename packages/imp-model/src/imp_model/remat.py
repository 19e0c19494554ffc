"""Rematerialisation policies by name: what a layer keeps for its backward pass (IMP 3.1.1)."""

from collections.abc import Callable

import jax

POLICIES: dict[str, Callable[..., bool]] = {
    "full": jax.checkpoint_policies.nothing_saveable,
    "named": jax.checkpoint_policies.save_only_these_names("attention_out", "routing"),
}
