"""What the routers of a study's arms came to: balance, dropped tokens, experts by modality."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from imp_train import metrics
from imp_train.studies.report import mean_and_error
from imp_train.studies.study import Run, Study, workdir_of

_MODALITIES = ("image", "video", "audio", "text")
# Of a run's steps, the last: what routing had come to.
_LAST = 0.25


def measured(workdir: Path) -> dict[str, float] | None:
    """Over the last quarter of the steps, means over layers; None where nothing is routed.

    `imbalance` is the fullest expert's load over the mean one's, all modalities alike in weight.
    `affinity` is how much of what the experts take is settled by the modality: half the sum of the
    differences between a modality's loads and those of all: 0 if all share alike, 1 - 1/m if
    each of m modalities has experts of its own. `dropped` is the share of tokens that none takes.
    """
    records = metrics.read(workdir)
    last = [own for own in records if own["step"] >= (1 - _LAST) * records[-1]["step"]]
    loads, dropped = [], []
    for modality in _MODALITIES:
        own = [record for record in last if f"{modality}/expert_load" in record]
        if own:
            loads.append(np.mean([record[f"{modality}/expert_load"] for record in own], 0))
            dropped.append(np.mean([record[f"{modality}/dropped_tokens"] for record in own]))
    if not loads:
        return None
    # [modality, layer, expert], shares of 1.
    shares = np.array(loads) / np.sum(loads, -1, keepdims=True)
    together = shares.mean(0)
    return {
        "imbalance": float(np.mean(together.max(-1) * together.shape[-1])),
        "affinity": float(np.mean(0.5 * np.abs(shares - together).sum(-1))),
        "dropped": float(np.mean(dropped)),
    }


def table(study: Study, root: Path, runs: Sequence[Run]) -> str:
    """Markdown, a row an arm that routes; empty where none does."""
    rows = []
    for arm in study.arms:
        own = [measured(workdir_of(root, arm, run.seed)) for run in runs if run.arm == arm]
        found = [values for values in own if values is not None]
        if found:
            cells = [_cell([values[name] for values in found]) for name in found[0]]
            rows.append(f"| {arm} | " + " | ".join(cells) + " |")
    if not rows:
        return ""
    head = [
        "Over the last quarter of the steps: the fullest expert's load over the mean one's, how",
        "far a modality's loads are from those of all (half the sum of the differences), and the",
        "share of tokens that no expert takes.",
        "",
        "| routing | imbalance | affinity | dropped |",
        "|---|---|---|---|",
    ]
    return "\n".join([*head, *rows]) + "\n"


def _cell(values: Sequence[float]) -> str:
    mean, error = mean_and_error(values)
    return f"{mean:.3f}" if np.isnan(error) else f"{mean:.3f} ± {error:.3f}"
