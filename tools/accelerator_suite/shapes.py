"""The sizes that the suite measures, and the smallest that run all of it on a CPU."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from imp_model.config import ModelConfig, size


@dataclasses.dataclass(frozen=True, kw_only=True)
class Knobs:
    """What changes a training step's program, and not what it learns from an example."""

    batch: int
    image: int
    attention: str = "xla"
    remat: str = "none"
    layers: str = "scan"

    def config(self, config: ModelConfig) -> ModelConfig:
        options: dict[str, Any] = {
            name: getattr(self, name) for name in ("attention", "remat", "layers")
        }
        return dataclasses.replace(config, **options)

    def __str__(self) -> str:
        parts = (f"attention {self.attention}", f"remat {self.remat}", self.layers)
        return f"{', '.join(parts)}, {self.batch} x {self.image} px"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shapes:
    moe: ModelConfig
    dense: ModelConfig
    """Of equal FLOPs: the same widths and layers, none of them MoE."""
    knobs: Knobs
    text: int
    """Tokens of a caption."""
    tries: tuple[Mapping[str, Any], ...]
    """Each changes the knobs in one respect."""
    matmuls: tuple[int, ...]
    copy_bytes: int
    layer_batch: int
    layer_tokens: tuple[int, ...]
    exact_batch: int
    """Of the batches in which an embedding must not depend on its company."""
    serving_batch: int
    rounds: int
    seconds: float
    """About so long each program runs in a round."""
    torch_compiled: bool
    judged: bool
    """Whether speed has aims."""


FULL = Shapes(
    moe=size("imp-moe-b"),
    dense=size("imp-b"),
    knobs=Knobs(batch=256, image=224),
    text=64,
    # In order of worth, for time may end.
    tries=(
        {"attention": "xla"},
        {"batch": 512},
        {"remat": "lean"},
        {"remat": "full"},
        {"image": 256},
        {"batch": 128},
        {"layers": "unroll"},
        {"batch": 64},
    ),
    matmuls=(4096, 8192, 12288, 16384),
    copy_bytes=2 * 2**30,
    layer_batch=128,
    layer_tokens=(256, 1024),
    exact_batch=16,
    serving_batch=64,
    rounds=7,
    seconds=0.4,
    torch_compiled=True,
    judged=True,
)

_TINY = dataclasses.replace(size("imp-moe-tiny"), vocab_size=64)
TINY = Shapes(
    moe=_TINY,
    dense=dataclasses.replace(_TINY, num_dense_layers=2, num_moe_layers=0, num_experts=1),
    knobs=Knobs(batch=4, image=32),
    # As many tokens as the image has: one pass of the encoder, half the program to compile.
    text=4,
    tries=({"attention": "xla"}, {"batch": 8}),
    matmuls=(64, 128),
    copy_bytes=2**20,
    layer_batch=2,
    layer_tokens=(16,),
    exact_batch=4,
    serving_batch=4,
    rounds=2,
    seconds=0.01,
    torch_compiled=False,
    judged=False,
)
