"""ModelConfig, the paper's sizes, and what they cost by formula."""

import dataclasses
import math
from typing import Literal

MODALITIES = ("image", "video", "audio", "text")
# Image and video share one embedder: an image is one frame tiled in time.
EMBEDDER_OF = {"image": "vision", "video": "vision", "audio": "audio", "text": "text"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """One encoder. `num_dense_layers` blocks come first, `num_moe_layers` after them.

    `dtype` is the compute type; parameters, router, softmax and losses stay in float32.
    """

    width: int
    mlp: int
    num_heads: int
    num_dense_layers: int
    num_moe_layers: int = 0
    num_experts: int = 1
    capacity_factor: float = 1.0
    routing_group: Literal["example", "batch"] = "example"
    patch: tuple[int, int, int] = (4, 16, 16)
    audio_patch: tuple[int, int] = (16, 16)
    vision_positions: tuple[int, int, int] = (16, 32, 32)
    audio_positions: tuple[int, int] = (64, 8)
    text_positions: int = 4096
    vocab_size: int = 32_100
    remat: Literal["none", "full", "named"] = "none"
    dtype: Literal["float32", "bfloat16"] = "bfloat16"

    def __post_init__(self) -> None:
        if self.width % self.num_heads:
            raise ValueError(
                f"width {self.width} is not a multiple of num_heads {self.num_heads}; "
                f"{self.width // self.num_heads * self.num_heads or self.num_heads} would be"
            )
        if self.num_dense_layers + self.num_moe_layers < 1:
            raise ValueError(
                "an encoder needs at least one layer: num_dense_layers and num_moe_layers are 0"
            )
        if self.num_moe_layers and self.num_experts < 2:
            raise ValueError(
                f"num_experts {self.num_experts} with {self.num_moe_layers} MoE layers; "
                "use at least 2 experts, or num_moe_layers=0"
            )
        if self.capacity_factor <= 0:
            raise ValueError(
                f"capacity_factor {self.capacity_factor} must be above 0 (the paper's is 1.0)"
            )

    @property
    def num_layers(self) -> int:
        return self.num_dense_layers + self.num_moe_layers

    def capacity(self, num_tokens: int) -> int:
        """Tokens each expert takes from a group of `num_tokens`: never 0, whatever the length."""
        return max(
            1, min(num_tokens, math.ceil(self.capacity_factor * num_tokens / self.num_experts))
        )

    def num_tokens(self, modality: str, shape: tuple[int, ...]) -> int:
        """Tokens of one input of `shape` (no batch dim). ValueError if patches don't divide it."""
        if modality == "text":
            if shape[0] > self.text_positions:
                raise ValueError(
                    f"text length {shape[0]} exceeds the position table's {self.text_positions}"
                )
            return shape[0]
        dims, patch = {
            "image": (shape[:2], self.patch[1:]),
            "video": (shape[:3], self.patch),
            "audio": (shape[:2], self.audio_patch),
        }[modality]
        if any(x % p for x, p in zip(dims, patch, strict=True)):
            raise ValueError(f"{modality} input {dims} does not divide by the patch {patch}")
        return math.prod(x // p for x, p in zip(dims, patch, strict=True))

    def flops_per_token(self, num_tokens: int) -> float:
        """Forward multiply-adds x 2 of the encoder for one token among `num_tokens`, by formula.

        Experts-choose with capacity factor 1 spends a dense FFN's FLOPs. Backward costs twice this.
        """
        d, f = self.width, self.mlp
        attention = 4 * d * d + 2 * num_tokens * d
        moe = (
            2 * d * f * self.capacity(num_tokens) * self.num_experts / num_tokens
            + d * self.num_experts
        )
        return 2.0 * (
            self.num_layers * attention
            + self.num_dense_layers * 2 * d * f
            + self.num_moe_layers * moe
        )


def _size(
    width: int, mlp: int, layers: int, heads: int, moe: int = 0, experts: int = 1
) -> ModelConfig:
    return ModelConfig(
        width=width,
        mlp=mlp,
        num_heads=heads,
        num_dense_layers=layers - moe,
        num_moe_layers=moe,
        num_experts=experts,
    )


# IMP section 4.1; MoE layers stand at the end of the stack.
SIZES: dict[str, ModelConfig] = {
    "imp-s": _size(384, 1536, 12, 6),
    "imp-moe-s": _size(384, 1536, 12, 6, moe=6, experts=4),
    "imp-b": _size(768, 3072, 12, 12),
    "imp-moe-b": _size(768, 3072, 12, 12, moe=6, experts=16),
    "imp-l": _size(1024, 4096, 24, 16),
    "imp-moe-l": _size(1024, 4096, 24, 16, moe=12, experts=16),
    "imp-moe-tiny": dataclasses.replace(
        _size(96, 192, 2, 3, moe=1, experts=4), vocab_size=2048, text_positions=64, dtype="float32"
    ),
}


def size(name: str) -> ModelConfig:
    """Raises ValueError naming the known sizes."""
    if name not in SIZES:
        raise ValueError(f"model size {name!r} is unknown; one of {', '.join(SIZES)}")
    return SIZES[name]
