"""The arms' training losses, step by step."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from imp_train import metrics
from imp_train.studies.report import COLOURS
from imp_train.studies.study import Run, Study, workdir_of

# Steps that a point is the mean of: a stratified deck's, which holds every task.
_STEPS = 64


def losses(workdir: Path) -> tuple[np.ndarray, np.ndarray]:
    """The middle steps of stretches of _STEPS, and their mean loss over whatever was trained."""
    records = metrics.read(workdir)
    steps = np.array([record["step"] for record in records])
    values = np.array([record["loss"] for record in records])
    places = [steps // _STEPS == k for k in range(steps[-1] // _STEPS + 1)]
    return (
        np.array([steps[own].mean() for own in places]),
        np.array([values[own].mean() for own in places]),
    )


def figure(study: Study, root: Path, runs: Sequence[Run]) -> Figure:
    """A line a run, of its arm's colour."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        picture = Figure(figsize=(7, 3.6), layout="tight")
        axis = picture.subplots()
        for arm, colour in zip(study.arms, COLOURS * 9, strict=False):
            for place, own in enumerate(run for run in runs if run.arm == arm):
                steps, values = losses(workdir_of(root, arm, own.seed))
                label = arm if place == 0 else None
                axis.plot(steps, values, color=colour, lw=0.9, alpha=0.8, label=label)
        axis.set_xlabel("step", fontsize=8)
        axis.set_ylabel(f"training loss, mean of {_STEPS} steps", fontsize=8)
        axis.tick_params(labelsize=7)
        axis.legend(fontsize=7, loc="upper right")
        axis.spines[["top", "right"]].set_visible(False)
    return picture
