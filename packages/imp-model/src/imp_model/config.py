"""ModelConfig, the paper's sizes, and what they cost by formula."""

import dataclasses
import math
from typing import Any, Literal, get_args, get_type_hints

MODALITIES = ("image", "video", "audio", "text")
# Image and video share one embedder: an image is one frame tiled in time.
EMBEDDER_OF = {"image": "vision", "video": "vision", "audio": "audio", "text": "text"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """One encoder. `num_dense_layers` blocks come first, `num_moe_layers` after them, or with
    `moe_placement="every_second"` by turns, a dense one first (V-MoE).

    `towers` other than "one" are the paper's comparison (see towers).
    `routing_group`: experts choose among the tokens of one example, of the whole batch, or of so
    many tokens; only the first keeps an example's embedding independent of its neighbours.
    V-MoE's tokens-choose is `router="tokens_choose", capacity_factor=1.05`; `top_k`,
    `capacity_priority`, `overflow`, `router_noise` and the two losses' weights are its alone.

    `overflow`: what becomes of a token whose expert is full: it is dropped, or asks its next one
    (Switch's no-token-left-behind), with which each is taken wherever there are slots enough.
    `gates="normalised"`: a token's sum to 1 over the experts that took it (sparse upcycling).

    `qk_norm=False` leaves QK-LayerNorm out, which a ViT trained elsewhere may lack, and which the
    paper needs for experts under contrastive losses.

    `layers="unroll"` and `remat` change the program and not what it computes; `attention` and
    `experts` pick a kernel (see kernels), which rounds otherwise and not every platform has.
    `dtype` is the compute type; parameters, router, softmax and losses stay in float32.
    """

    width: int
    mlp: int
    num_heads: int
    num_dense_layers: int
    num_moe_layers: int = 0
    moe_placement: Literal["last", "every_second"] = "last"
    num_experts: int = 1
    towers: Literal["one", "two_split", "two_full", "three_split", "three_full"] = "one"
    router: Literal["experts_choose", "tokens_choose"] = "experts_choose"
    capacity_factor: float = 1.0
    routing_group: Literal["example", "batch"] | int = "example"
    top_k: int = 1
    capacity_priority: Literal["score", "order"] = "score"
    overflow: Literal["drop", "next"] = "drop"
    gates: Literal["softmax", "normalised"] = "softmax"
    router_noise: float = 1.0
    importance_loss: float = 0.005
    load_loss: float = 0.005
    qk_norm: bool = True
    patch: tuple[int, int, int] = (4, 16, 16)
    audio_patch: tuple[int, int] = (16, 16)
    vision_positions: tuple[int, int, int] = (16, 32, 32)
    audio_positions: tuple[int, int] = (64, 8)
    text_positions: int = 4096
    vocab_size: int = 32_100
    layers: Literal["scan", "unroll"] = "scan"
    remat: Literal["none", "full", "lean", "named", "products"] = "none"
    attention: Literal["xla", "cudnn"] = "xla"
    experts: Literal["xla", "pallas"] = "xla"
    dtype: Literal["float32", "bfloat16"] = "bfloat16"

    def __post_init__(self) -> None:
        for name, known in _CHOICES.items():
            value = getattr(self, name)
            if value not in known and not (name == "routing_group" and _is_size(value)):
                numbers = " or a number of tokens" if name == "routing_group" else ""
                raise ValueError(f"{name} {value!r} is unknown; one of {', '.join(known)}{numbers}")
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
        if self.moe_placement == "every_second" and self.num_dense_layers != self.num_moe_layers:
            raise ValueError(
                f"every second layer can't be MoE with num_dense_layers {self.num_dense_layers} "
                f"and num_moe_layers {self.num_moe_layers}; {self.num_layers // 2} each would do"
            )
        for name in ("num_dense_layers", "num_moe_layers"):
            layers = getattr(self, name)
            if self.towers.endswith("_split") and (odd := layers % self.num_towers):
                raise ValueError(
                    f"{name} {layers} can't be split among {self.num_towers} towers; "
                    f"{layers - odd} or {layers - odd + self.num_towers} can"
                )
        if self.capacity_factor <= 0:
            raise ValueError(
                f"capacity_factor {self.capacity_factor} must be above 0 (the paper's is 1.0)"
            )
        if not 1 <= self.top_k <= self.num_experts:
            raise ValueError(
                f"top_k {self.top_k} must lie between 1 and num_experts {self.num_experts}"
            )

    @property
    def num_layers(self) -> int:
        return self.num_dense_layers + self.num_moe_layers

    @property
    def num_towers(self) -> int:
        return {"one": 1, "two": 2, "three": 3}[self.towers.split("_")[0]]

    @property
    def tower(self) -> "ModelConfig":
        """One tower's own: with towers that split the layers, its share of them."""
        share = self.num_towers if self.towers.endswith("_split") else 1
        return dataclasses.replace(
            self,
            towers="one",
            num_dense_layers=self.num_dense_layers // share,
            num_moe_layers=self.num_moe_layers // share,
        )

    @property
    def draws_noise(self) -> bool:
        """Whether the routers take a key in training."""
        return (
            bool(self.num_moe_layers) and self.router == "tokens_choose" and self.router_noise > 0
        )

    def capacity(self, num_tokens: int) -> int:
        """Tokens each expert takes from a group of `num_tokens`: never 0, whatever the length."""
        choices = self.top_k if self.router == "tokens_choose" else 1
        even = math.ceil(self.capacity_factor * choices * num_tokens / self.num_experts)
        return max(1, min(num_tokens, even))

    def group_size(self, batch: int, num_tokens: int) -> int:
        """Tokens of a routing group in a batch of so many examples and tokens each.

        Raises ValueError where groups don't divide the batch.
        """
        total, group = batch * num_tokens, self.routing_group
        if not isinstance(group, int):
            return num_tokens if group == "example" else total
        if total % group:
            near = min(
                (n for n in range(1, total + 1) if total % n == 0), key=lambda n: abs(n - group)
            )
            raise ValueError(
                f"routing_group {group} does not divide the {total} tokens of a batch of "
                f"{batch} x {num_tokens}; {near} would"
            )
        return group

    def num_tokens(self, modality: str, shape: tuple[int, ...]) -> int:
        """Tokens of one input of `shape` (no batch dim).

        Raises ValueError where patches don't divide it, and for more tokens than have positions.
        """
        if modality == "text":
            if shape[0] > self.text_positions:
                raise ValueError(
                    f"text length {shape[0]} exceeds the position table's {self.text_positions}"
                )
            return shape[0]
        dims, patch, buckets = {
            "image": (shape[:2], self.patch[1:], self.vision_positions[1:]),
            "video": (shape[:3], self.patch, self.vision_positions),
            "audio": (shape[:2], self.audio_patch, self.audio_positions),
        }[modality]
        check_divides(modality, dims, patch)
        patches = tuple(x // p for x, p in zip(dims, patch, strict=True))
        if any(n > most for n, most in zip(patches, buckets, strict=True)):
            largest = tuple(n * p for n, p in zip(buckets, patch, strict=True))
            raise ValueError(
                f"{modality} input {dims} exceeds the position table; at most {largest} fits"
            )
        return math.prod(patches)

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


def check_divides(what: str, dims: tuple[int, ...], patch: tuple[int, ...]) -> None:
    """ValueError, naming the nearest sizes that fit, where `patch` does not divide `dims`."""
    if all(x and x % p == 0 for x, p in zip(dims, patch, strict=True)):
        return
    below = tuple(x // p * p for x, p in zip(dims, patch, strict=True))
    above = tuple(-(-max(x, 1) // p) * p for x, p in zip(dims, patch, strict=True))
    fits = [fit for fit in (below, above) if all(fit)]
    raise ValueError(
        f"{what} input {dims} does not divide by the patch {patch}; "
        f"{' or '.join(map(str, fits))} would"
    )


def _is_size(value: Any) -> bool:
    return isinstance(value, int) and value >= 1


def _literals(hint: Any) -> tuple[str, ...]:
    """The strings that a field's annotation admits, also beside another type."""
    found = [x for arg in get_args(hint) for x in (get_args(arg) or (arg,))]
    return tuple(x for x in found if isinstance(x, str))


_CHOICES = {
    name: _literals(hint) for name, hint in get_type_hints(ModelConfig).items() if _literals(hint)
}


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
