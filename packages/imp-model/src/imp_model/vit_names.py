"""How public ViT checkpoints name their tensors, and what each is in our trunk.

timm names are PyTorch's (linear weights [out, in], convolutions [out, channel, h, w]); big_vision's
are Flax paths, where the older vision_transformer repository numbered the sublayers otherwise.
"""

import dataclasses
from collections.abc import Callable, Collection

import numpy as np

from imp_model.config import ModelConfig


@dataclasses.dataclass(frozen=True)
class Source:
    """The tensors, all of `shape`, that `convert` makes one of ours from."""

    names: tuple[str, ...]
    shape: tuple[int, ...]
    convert: Callable[..., np.ndarray]


@dataclasses.dataclass(frozen=True)
class Naming:
    """`patch` gives [h, w, 3, d]; `layers` is by our path in a Block, one dictionary a layer;
    `positions` names a table [1, n, d], a class token's before the patches' where n is no square.
    """

    name: str
    patch: Source
    positions: str
    norm: Source
    layers: tuple[dict[str, Source], ...]


def find(names: Collection[str], config: ModelConfig) -> Naming:
    """Raises ValueError for a checkpoint of neither naming, or of more layers than `config`."""
    if "patch_embed.proj.weight" in names:
        naming, block = _timm(config), "blocks.{}."
    elif any(name.endswith("embedding/kernel") for name in names):
        naming, block = _big_vision(names, config)
    else:
        first = ", ".join(sorted(names)[:3])
        raise ValueError(
            f"tensors {first}, … are not named as timm's (patch_embed.proj.weight) or big_vision's "
            "(embedding/kernel) Vision Transformers are"
        )
    layers = 0
    while any(name.startswith(block.format(layers)) for name in names):
        layers += 1
    if layers != config.num_layers:
        raise ValueError(
            f"the checkpoint has {layers} layers ({block.format(0)}…), "
            f"the size {config.num_layers}; they must be equal"
        )
    return naming


def _whole(x: np.ndarray) -> np.ndarray:
    return x


def _timm(c: ModelConfig) -> Naming:
    d, f = c.width, c.mlp

    def layer(i: int) -> dict[str, Source]:
        def linear(name: str, d_in: int, d_out: int) -> Source:
            return Source((f"blocks.{i}.{name}.weight",), (d_out, d_in), np.transpose)

        return {
            "attention_norm/scale": Source((f"blocks.{i}.norm1.weight",), (d,), _whole),
            "attention/qkv/kernel": linear("attn.qkv", d, 3 * d),
            "attention/out/kernel": linear("attn.proj", d, d),
            "ffn_norm/scale": Source((f"blocks.{i}.norm2.weight",), (d,), _whole),
            "ffn/up/kernel": linear("mlp.fc1", d, f),
            "ffn/down/kernel": linear("mlp.fc2", f, d),
        }

    return Naming(
        name="timm",
        patch=Source(
            ("patch_embed.proj.weight",), (d, 3, *c.patch[1:]), lambda x: x.transpose(2, 3, 1, 0)
        ),
        positions="pos_embed",
        norm=Source(("norm.weight",), (d,), _whole),
        layers=tuple(layer(i) for i in range(c.num_layers)),
    )


def _big_vision(names: Collection[str], c: ModelConfig) -> tuple[Naming, str]:
    d, f, heads = c.width, c.mlp, c.num_heads
    (first, *_) = (name for name in names if name.endswith("embedding/kernel"))
    root = first.removesuffix("embedding/kernel")
    older = any("MultiHeadDotProductAttention_1" in name for name in names)
    attention, norm, mlp = (1, 2, 3) if older else (0, 1, 0)
    block = root + "Transformer/encoderblock_{}/"

    def layer(i: int) -> dict[str, Source]:
        def own(name: str) -> str:
            return block.format(i) + name

        def attend(name: str) -> str:
            return own(f"MultiHeadDotProductAttention_{attention}/{name}/kernel")

        kernels = tuple(attend(name) for name in ("query", "key", "value"))
        return {
            "attention_norm/scale": Source((own("LayerNorm_0/scale"),), (d,), _whole),
            "attention/qkv/kernel": Source(
                kernels, (d, heads, d // heads), lambda *qkv: np.stack(qkv, 1).reshape(d, 3 * d)
            ),
            "attention/out/kernel": Source(
                (attend("out"),), (heads, d // heads, d), lambda x: x.reshape(d, d)
            ),
            "ffn_norm/scale": Source((own(f"LayerNorm_{norm}/scale"),), (d,), _whole),
            "ffn/up/kernel": Source((own(f"MlpBlock_{mlp}/Dense_0/kernel"),), (d, f), _whole),
            "ffn/down/kernel": Source((own(f"MlpBlock_{mlp}/Dense_1/kernel"),), (f, d), _whole),
        }

    positions = "Transformer/posembed_input/pos_embedding" if older else "pos_embedding"
    naming = Naming(
        name="vision_transformer" if older else "big_vision",
        patch=Source((first,), (*c.patch[1:], 3, d), _whole),
        positions=root + positions,
        norm=Source((f"{root}Transformer/encoder_norm/scale",), (d,), _whole),
        layers=tuple(layer(i) for i in range(c.num_layers)),
    )
    return naming, block
