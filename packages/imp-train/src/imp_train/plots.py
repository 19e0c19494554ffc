"""Plots of a run: each task's loss, and which experts take which modality."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from imp_data.stores.atomic import write_file
from imp_train import metrics

_COLUMNS = 4
_COLOURS = ("#1f5fbf", "#c8552d", "#2a8c4a", "#7d4bb0")
# More experts than that, and figures in the cells would overlap.
_FIGURES_UP_TO = 8


def write(workdir: Path) -> list[Path]:
    """WORKDIR/plots/loss.png, and experts.png where the model has any, from the run's metrics."""
    records = metrics.read(workdir)
    figures = {"loss": losses(records), "experts": experts(records)}
    written = []
    for name, figure in figures.items():
        if figure is None:
            continue
        picture = io.BytesIO()
        figure.savefig(picture, format="png", dpi=120)
        written.append(workdir / "plots" / f"{name}.png")
        write_file(written[-1], picture.getvalue())
    return written


def losses(records: Sequence[Mapping[str, Any]]) -> Figure:
    """A panel a task: every step's loss, and their running mean. A line a variant, for batches of
    another size have losses of another size."""
    by_task: dict[str, dict[str, list[tuple[int, float]]]] = {}
    for record in records:
        own = by_task.setdefault(record["task"], {}).setdefault(record["variant"], [])
        own.append((record["step"], record["loss"]))
    rows = -(-len(by_task) // _COLUMNS)
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        figure = Figure(figsize=(11, 2.1 * rows), layout="tight")
        axes = figure.subplots(rows, _COLUMNS, squeeze=False)
        for axis in axes.flat[len(by_task) :]:
            axis.axis("off")
        for axis, (name, variants) in zip(axes.flat, by_task.items(), strict=False):
            for colour, (variant, points) in zip(_COLOURS * 9, variants.items(), strict=False):
                steps, values = np.array(points).T
                width = max(1, len(values) // 20)
                smooth = np.convolve(values, np.ones(width) / width, mode="valid")
                axis.plot(steps, values, lw=0.5, color=colour, alpha=0.4)
                axis.plot(steps[width - 1 :], smooth, lw=1.4, color=colour, label=variant)
            if len(variants) > 1:
                axis.legend(fontsize=6, frameon=False, loc="upper right")
            axis.set_title(name, fontsize=8)
            axis.tick_params(labelsize=7)
            axis.spines[["top", "right"]].set_visible(False)
    return figure


def expert_loads(records: Sequence[Mapping[str, Any]]) -> dict[str, np.ndarray]:
    """By modality [layers, experts]: each expert's share of the gate weight in every MoE layer,
    averaged over the second half of the records. Empty for a dense model."""
    loads: dict[str, list[np.ndarray]] = {}
    for record in records[len(records) // 2 :]:
        for key, value in record.items():
            modality, _, name = key.partition("/")
            if name == "expert_load":
                loads.setdefault(modality, []).append(np.array(value))
    return {modality: np.mean(own, axis=0) for modality, own in sorted(loads.items())}


def experts(
    records: Sequence[Mapping[str, Any]], *, last_layer_alone: bool = False
) -> Figure | None:
    """A heat map of modality by expert for each MoE layer; None for a dense model."""
    loads = expert_loads(records)
    if not loads:
        return None
    # [layers, modalities, experts]
    grids = np.stack(list(loads.values()), axis=1)
    layers = range(len(grids))[-1:] if last_layer_alone else range(len(grids))
    num_experts = grids.shape[2]
    columns = min(len(layers), 2 if num_experts <= _FIGURES_UP_TO else 1)
    rows = -(-len(layers) // columns)
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        size = (columns * (1.4 + 0.7 * num_experts), rows * (0.45 * len(loads) + 0.9))
        figure = Figure(figsize=size, layout="tight")
        axes = figure.subplots(rows, columns, squeeze=False)
        for axis in axes.flat[len(layers) :]:
            axis.axis("off")
        for axis, layer in zip(axes.flat, layers, strict=False):
            grid = grids[layer]
            axis.imshow(grid, cmap="Blues", vmin=0, aspect="auto")
            for (i, j), value in np.ndenumerate(grid):
                if num_experts <= _FIGURES_UP_TO:
                    ink = "white" if value > 0.6 * grid.max() else "black"
                    axis.text(j, i, f"{value:.2f}", ha="center", va="center", color=ink, fontsize=9)
            axis.set_yticks(range(len(loads)), list(loads), fontsize=8)
            axis.set_xticks(range(num_experts), [str(e) for e in range(num_experts)], fontsize=8)
            axis.set_title(f"MoE layer {layer + 1} of {len(grids)}: experts", fontsize=8)
    return figure
