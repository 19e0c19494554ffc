"""Parameters to start from: those of a bundle's parts that the experiment has alike."""

import logging
from pathlib import Path

from flax import nnx

from imp_model import bundle
from imp_model.config import ModelConfig
from imp_model.model import Model
from imp_model.towers import ENCODER

log = logging.getLogger(__name__)


def started_from(path: Path, model: Model) -> Model:
    """`model` with every part replaced that the bundle at `path` has with the same parameters.

    Other parts stay as drawn, and a warning names those that the bundle has otherwise: an embedder
    of text for another vocabulary, say. Raises ValueError where no encoder could be taken.
    """
    found = bundle.load(path)
    parts = {name: found.model.parts[name] for name in model.parts if name in found.model.parts}
    alike = {name: p for name, p in parts.items() if _shapes(p) == _shapes(model.parts[name])}
    if not any(name.startswith(ENCODER) for name in alike):
        raise ValueError(
            f"the encoder of {path} ({_layers(found.config)}) is not the experiment's "
            f"({_layers(model.config)}); start from a bundle of its size"
        )
    if differ := sorted(set(parts) - set(alike)):
        log.warning("%s has other shapes of %s, drawn anew", path, ", ".join(differ))
    return Model(model.config, dict(model.parts) | alike)


def _shapes(part: nnx.Module) -> dict[str, tuple[int, ...]]:
    return {name: leaf.shape for name, leaf in bundle.flatten({"": part}).items()}


def _layers(c: ModelConfig) -> str:
    moe = f" + {c.num_moe_layers} MoE layers of {c.num_experts} experts" if c.num_moe_layers else ""
    return f"width {c.width}, mlp {c.mlp}, {c.num_dense_layers} dense{moe}, towers {c.towers}"
