"""The MoE layer over a mesh: every device routes its own examples, tokens travel to their experts.

Two explicit all-to-alls over the mesh axis `expert`, [e, s, d] to [e/E, E*s, d] and back. Left to
the compiler, gathers whose rows it can't follow become all-gathers of every token.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Bool, Float

from imp_model import sharding
from imp_model.config import ModelConfig
from imp_model.kernels.gathered import gathered_experts
from imp_model.router import Router

Layer = Callable[..., tuple[Array, dict[str, Array]]]


def check_groups(config: ModelConfig, num_tokens: int, size: int) -> None:
    """ValueError where a routing group would mix examples of several devices."""
    if num_tokens % size and (shards := sharding.batch_shards()) > 1:
        raise ValueError(
            f"routing_group {config.routing_group!r} mixes examples, which this mesh spreads over "
            f"{shards} devices; use routing_group='example', or a mesh with data=fsdp=expert=1"
        )


def over_mesh(
    layer: Layer,
    router: Router,
    up: Float[Array, "e d f"],
    down: Float[Array, "e f d"],
    x: Float[Array, "b n d"],
    mask: Bool[Array, "b n"] | None,
    noise: Float[Array, "g e m"] | None,
    size: int,
) -> tuple[Float[Array, "b n d"], dict[str, Array]]:
    """`layer` of each device's examples, with the products of its experts and its hidden units."""
    rows = P(sharding.BATCH)
    fsdp, expert = (sharding.axis_size(axis) > 1 for axis in ("fsdp", "expert"))

    def gathered(kernel: Array, dim: int) -> Array:
        # Its transpose scatters the gradient's sum: no device holds the whole of it.
        return jax.lax.all_gather(kernel, "fsdp", axis=dim, tiled=True) if fsdp else kernel

    def dispatch(taken: Array) -> Array:
        return jax.lax.all_to_all(taken, "expert", 0, 1, tiled=True) if expert else taken

    def collect(out: Array) -> Array:
        # A device has the share of its own hidden units.
        out = jax.lax.psum(out, "model")
        return jax.lax.all_to_all(out, "expert", 1, 0, tiled=True) if expert else out

    def own(*args: Any) -> tuple[Array, dict[str, Array]]:
        router, up, down, x, mask, noise = args
        up, down = gathered(up, 1), gathered(down, 2)
        experts = functools.partial(gathered_experts, dispatch=dispatch, collect=collect)
        return layer(experts, router, up, down, x, mask, noise, size)

    kernels = (sharding.spec(("expert", "embed", "mlp")), sharding.spec(("expert", "mlp", "embed")))
    return jax.shard_map(own, in_specs=(P(), *kernels, rows, rows, rows), out_specs=(rows, rows))(
        router, up, down, x, mask, noise
    )
