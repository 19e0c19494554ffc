"""What a model costs, by formula or by its shapes: nothing is computed or allocated."""

import dataclasses
from typing import Any

from imp_model.bundle import flatten
from imp_model.config import EMBEDDER_OF, ModelConfig, size
from imp_model.drop_token import num_kept
from imp_model.model import Model, num_parameters
from imp_model.remat import SAVED
from imp_model.towers import ENCODER

# The paper's inputs; audio is the released code's 8.192 s. And its contrasts.
INPUTS: dict[str, tuple[int, ...]] = {
    "image": (256, 256, 3),
    "video": (16, 256, 256, 3),
    "audio": (128, 128),
    "text": (16,),
}
PAIRS = (("image", "text"), ("video", "text"), ("video", "audio"))


def describe(name: str) -> dict[str, Any]:
    """Costs of a size: `parameters` by part, `parameters_per_token`, `memory` in bytes of what does
    not grow with the batch, and by modality `inputs`: one example's tokens, FLOPs and activations.

    Raises ValueError for an unknown size.
    """
    config = size(name)
    return {
        "name": name,
        "config": dataclasses.asdict(config),
        **parameters(config),
        "inputs": {
            modality: {
                "shape": list(shape),
                "tokens": config.num_tokens(modality, shape),
                "forward_gflops": round(forward_flops(config, modality, shape) / 1e9, 3),
                "activation_bytes": {
                    remat: activation_bytes(config, config.num_tokens(modality, shape), remat=remat)
                    for remat in ("none", *SAVED)
                },
            }
            for modality, shape in INPUTS.items()
        },
    }


def parameters(config: ModelConfig) -> dict[str, Any]:
    """`heads` are those of the paper's three contrasts. A token's parameters are what it may meet
    on its way to the pooled projection: of the experts, as many as take it on average."""
    parts = Model.abstract(config, pairs=PAIRS).parts
    sums = {part: num_parameters(parts[part]) for part in parts}
    leaves = flatten({part: parts[part] for part in parts if part.startswith(ENCODER)})
    experts = sum(
        leaf.size for path, leaf in leaves.items() if path.endswith(("moe/ffn/up", "moe/ffn/down"))
    )

    def total(*prefixes: str) -> int:
        return sum(n for part, n in sums.items() if part.startswith(prefixes))

    backbone, whole, heads = total(ENCODER), sum(sums.values()), total("head/", "temperature/")
    share = config.capacity_factor * (config.top_k if config.router == "tokens_choose" else 1)
    idle = experts * (1 - min(1.0, share / config.num_experts))
    if config.num_towers > 1:
        idle += (backbone - experts) * (1 - 1 / config.num_towers)
    return {
        "parameters": {
            "backbone": backbone,
            "of which experts": experts,
            "embedders": total("embedder/"),
            "projections": total("projection/"),
            "heads": heads,
            "total": whole,
        },
        "parameters_per_token": {
            "backbone": round(backbone - idle),
            "total": round(whole - heads - idle),
        },
        # Both in float32; Adam keeps two moments.
        "memory": {"parameters": 4 * whole, "moments": 8 * whole},
    }


def forward_flops(
    config: ModelConfig, modality: str, shape: tuple[int, ...], *, drop: float = 0.0
) -> float:
    """Multiply-adds x 2 of one example's products, from its input to its pooled projection.

    `drop` is DropToken's ratio. Backward costs twice this, and rematerialisation up to once more.
    """
    d, tokens = config.width, num_kept(config.num_tokens(modality, shape), drop)
    # An image's patch is one frame: the kernel's sum over time stands for its tiles.
    patch = {
        "image": 3 * config.patch[1] * config.patch[2],
        "video": 3 * config.patch[0] * config.patch[1] * config.patch[2],
        "audio": config.audio_patch[0] * config.audio_patch[1],
    }
    # The level and spread of a patch are two values more; a text's tokens are looked up.
    embedder = (patch[modality] + 2 if EMBEDDER_OF[modality] != "text" else 0) * d + d * d
    encoder = config.tower.flops_per_token(tokens)
    return tokens * (2.0 * embedder + encoder) + 2.0 * d * d


def activation_bytes(config: ModelConfig, num_tokens: int, *, remat: str) -> int:
    """What the encoder keeps of one example of so many tokens for the backward pass.

    Rematerialised, one layer at a time has all of its own besides: it is counted.
    """
    c = config.tower
    d, f, n = c.width, c.mlp, num_tokens
    bytes_each = 2 if c.dtype == "bfloat16" else 4
    # An expert's slots for each token.
    slots = c.capacity(n) * c.num_experts / n

    def layer(remat: str, moe: bool) -> float:
        hidden = (slots if moe else 1.0) * f
        out = slots * d if moe else 0.0
        routing = 5 * slots if moe else 0.0
        if remat == "none":
            # LayerNorms, q's and k's among them, keep their inputs; softmax works in float32.
            normed = bytes_each * (4 if c.qk_norm else 2) * d
            products = bytes_each * (6 * d + 2 * hidden + 2 * out)
            softmax = c.num_heads * (n * (4 + bytes_each) + 8)
            router = 4 * (d + c.num_experts + 2) + slots * 13 if moe else 0.0
            return normed + products + softmax + router
        saved = {"attention_out": d, "qkv": 3 * d} | (
            {"expert_up": hidden, "expert_out": out} if moe else {"ffn_up": hidden}
        )
        kept = d + sum(saved.get(name, 0.0) for name in SAVED[remat])
        return bytes_each * kept + (routing if SAVED[remat] else 0.0)

    total = c.num_dense_layers * layer(remat, False) + c.num_moe_layers * layer(remat, True)
    if remat != "none":
        total += layer("none", c.num_moe_layers > 0)
    return round(n * (total + bytes_each * d))
