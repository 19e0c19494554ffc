"""Warm start: the trunk and the vision embedder of a public Vision Transformer's checkpoint.

What has a counterpart is taken; the trunk is not that ViT, and is to be trained on:

- It has no biases and no class token, and normalises queries and keys: none of it is carried over.
- Patches are inflated to tubelets, each of `pt` frames with 1 / pt of the weight, so that a still
  image gives the 2-D projection. Ours standardises a patch first and passes its mean by a way of
  its own, which takes what the 2-D projection gives for that mean: the result is the ViT's (without
  its bias) for a patch of deviation 1, and for any other as if its deviation were 1.
- The position table [h, w, d] becomes the nearest sum of one for h and one for w, by least squares
  their means over the other axis, stretched over our dilated tables. Ours normalises the sum, so it
  is scaled by the deviation it had on average.
- The embedder's last projection starts as the identity.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import safetensors
import safetensors.numpy

from imp_model.bundle import flatten, restore
from imp_model.config import ModelConfig
from imp_model.model import Model
from imp_model.patches import LEVEL_GAIN
from imp_model.vit_names import Source, find


@dataclasses.dataclass(frozen=True)
class Report:
    """`used`: (their tensor, shape, our parameter); `left`: (their tensor, shape, why);
    `fresh`: our parameters that are as drawn; `positions`: the share of the position table's
    variance that ours has."""

    naming: str
    used: tuple[tuple[str, tuple[int, ...], str], ...]
    left: tuple[tuple[str, tuple[int, ...], str], ...]
    fresh: tuple[str, ...]
    positions: float

    def __str__(self) -> str:
        rows = [f"{'x'.join(map(str, shape)):>14}  {name}" for name, shape, _ in self.used]
        rows += [f"{'x'.join(map(str, shape)):>14}  {name}" for name, shape, _ in self.left]
        wide = max(map(len, rows))
        notes = [f"-> {ours}" for *_, ours in self.used] + [f"left: {why}" for *_, why in self.left]
        table = [f"{row:{wide}}  {note}" for row, note in zip(rows, notes, strict=True)]
        return "\n".join(
            [
                f"{self.naming}: {len(self.used)} tensors used, {len(self.left)} left",
                *table,
                f"positions: {self.positions:.0%} of their table's variance is a sum over h and w",
                f"as drawn: {', '.join(self.fresh)}",
            ]
        )


def read(path: Path) -> dict[str, np.ndarray]:
    """Raises ValueError for what is no safetensors file."""
    try:
        return safetensors.numpy.load_file(path)
    except safetensors.SafetensorError as error:
        raise ValueError(f"{path} is no safetensors file ({error})") from None


def warm_started(
    config: ModelConfig, tensors: Mapping[str, np.ndarray], *, seed: int = 0
) -> tuple[Model, Report]:
    """A model of no pairs, whose trunk and vision embedder start from `tensors`.

    Raises ValueError for a size with experts or several towers, for names of no known kind, and for
    a tensor that lacks or whose shape is not the size's.
    """
    if config.num_moe_layers or config.towers != "one":
        raise ValueError(
            f"a ViT is one tower of dense layers, the size has {config.num_moe_layers} MoE layers "
            f"and towers {config.towers!r}; warm-start a dense size, then `imp-model upcycle` it"
        )
    naming = find(tensors, config)
    used: dict[str, str] = {}

    def take(source: Source, ours: str) -> np.ndarray:
        for name in source.names:
            if name not in tensors:
                raise ValueError(f"the checkpoint has no {name!r}, which {ours!r} is to start from")
            if tensors[name].shape != source.shape:
                raise ValueError(
                    f"{name!r} is of {tensors[name].shape}; the size needs {source.shape}"
                )
            used[name] = ours
        return source.convert(*(tensors[name].astype(np.float32) for name in source.names))

    new: dict[str, np.ndarray] = {}
    for path in naming.layers[0]:
        ours = f"encoder/dense/{path}"
        new[ours] = np.stack([take(layer[path], ours) for layer in naming.layers])
    new["encoder/norm/scale"] = take(naming.norm, "encoder/norm/scale")
    vision = "embedder/vision/"
    kernel = take(naming.patch, f"{vision}patch/kernel")
    new[f"{vision}patch/kernel"] = inflated(kernel, config.patch[0])
    new[f"{vision}patch/level"] = np.stack([kernel.sum((0, 1, 2)), np.zeros(config.width)])
    new[f"{vision}patch/level"] /= LEVEL_GAIN
    grid = _grid(naming.positions, tensors, config)
    used[naming.positions] = f"{vision}positions/tables"
    tables, scale, share = factorised(grid, config.vision_positions)
    for i, table in enumerate(tables):
        new[f"{vision}positions/tables/{i}"] = table
    new[f"{vision}positions/norm/scale"] = np.full(config.width, scale)
    new[f"{vision}project/kernel"] = np.eye(config.width)

    model = Model.create(config, pairs=[], seed=seed)
    arrays = {name: np.asarray(value) for name, value in flatten(model.parts).items()}
    fresh = tuple(name for name in arrays if name not in new)
    changed = {name: value.astype(np.float32) for name, value in new.items()}
    report = Report(
        naming=naming.name,
        used=tuple((name, tensors[name].shape, ours) for name, ours in used.items()),
        left=tuple((n, x.shape, _why_left(n)) for n, x in tensors.items() if n not in used),
        fresh=fresh,
        positions=share,
    )
    return restore(model, arrays | changed, "the checkpoint"), report


def inflated(kernel: np.ndarray, frames: int) -> np.ndarray:
    """A patch kernel [h, w, 3, d] as a tubelet's [frames*h*w*3, d]: its mean over frames."""
    return np.tile(kernel.reshape(-1, kernel.shape[-1]) / frames, (frames, 1))


def factorised(
    grid: np.ndarray, buckets: tuple[int, int, int]
) -> tuple[list[np.ndarray], float, float]:
    """Tables for t, h and w whose sum is nearest to `grid` [h, w, d]; the scale that the sum lacks
    once normalised; and the share of the grid's variance that the sum has.

    A row of the grid stands where the dilated index of its size points, what lies between is drawn
    straight, and time has no say.
    """
    mean = grid.mean((0, 1))
    rows, columns = grid.mean(1) - mean / 2, grid.mean(0) - mean / 2
    fit = rows[:, None] + columns[None]
    variance = np.square(grid - mean).sum()
    share = 1 - np.square(grid - fit).sum() / variance if variance else 1.0
    tables = [np.zeros((buckets[0], grid.shape[-1]))]
    for values, size in ((rows, buckets[1]), (columns, buckets[2])):
        places = np.arange(len(values)) * size // len(values)
        tables.append(np.stack([np.interp(np.arange(size), places, v) for v in values.T], axis=1))
    return tables, float(fit.std(-1).mean()), float(share)


def _grid(name: str, tensors: Mapping[str, np.ndarray], config: ModelConfig) -> np.ndarray:
    """The position table [h, w, d], without a class token's."""
    if name not in tensors:
        raise ValueError(f"the checkpoint has no {name!r}, which our position tables start from")
    table = tensors[name].astype(np.float32)
    if table.ndim != 3 or table.shape[::2] != (1, config.width):
        raise ValueError(
            f"{name!r} is of {table.shape}; the size needs (1, patches, {config.width})"
        )
    patches = table.shape[1]
    side = int(np.sqrt(patches))
    most = min(config.vision_positions[1:])
    if patches - side * side not in (0, 1) or not 1 <= side <= most:
        raise ValueError(
            f"{name!r} has {patches} positions; a square of them, at most {most} x {most}, with or "
            "without a class token's before it, can be used"
        )
    return table[0, patches - side * side :].reshape(side, side, -1)


def _why_left(name: str) -> str:
    last = name.replace("/", ".").split(".")
    if last[-1] in ("cls_token", "cls"):
        return "tokens are averaged, none stands for all"
    if last[-1] == "bias":
        return "no biases here"
    if "head" in last or "fc_norm" in last or "pre_logits" in last:
        return "heads are trained anew"
    return "no counterpart"
