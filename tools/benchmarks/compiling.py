"""`python -m benchmarks.compiling PLATFORM CONFIG BATCH TOKENS`: what one program of the encoder's
gradient costs to trace and compile, and how many bytes of temporaries it takes."""

import json
import sys
import time
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import SingleDeviceSharding

from imp_model.config import ModelConfig
from imp_model.encoder import Encoder
from imp_model.init import Init


def main() -> None:
    """Prints CPU seconds of tracing and lowering, of compiling, and bytes."""
    platform, fields, batch, tokens = sys.argv[1:]
    # JSON has no tuples.
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in json.loads(fields).items()
    }
    config = ModelConfig(**values)
    encoder = jax.eval_shape(lambda: Encoder(config, Init.zeros()))
    dtype = jnp.dtype(config.dtype)
    x = jax.ShapeDtypeStruct((int(batch), int(tokens), config.width), dtype)
    sharding = _device(platform)
    encoder, x = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), (encoder, x)
    )

    def loss(encoder: Encoder, x: jax.Array) -> jax.Array:
        return jnp.square(encoder(x, None)[0].astype(jnp.float32)).sum()

    began = time.process_time()
    lowered = jax.jit(jax.grad(loss)).lower(encoder, x)
    traced = time.process_time()
    compiled = lowered.compile()
    ended = time.process_time()
    memory = compiled.memory_analysis()
    assert memory is not None
    print(traced - began, ended - traced, memory.temp_size_in_bytes)


def _device(platform: str) -> SingleDeviceSharding:
    if platform != "tpu":
        return SingleDeviceSharding(jax.devices(platform)[0])
    from jax.experimental import topologies

    topology = topologies.get_topology_desc(
        platform="tpu", topology_name="v4:2x2x1", chip_config_name="megacore"
    )
    return SingleDeviceSharding(topology.devices[0])


if __name__ == "__main__":
    main()
