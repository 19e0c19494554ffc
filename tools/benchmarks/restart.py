"""A run that starts with an empty folder of compiled programs, beside one that finds them there."""

import dataclasses
import shutil
import tempfile
from pathlib import Path

from benchmarks import arms
from imp_train.config import Experiment
from imp_train.experiments.quickstart import quickstart
from imp_train.sampler import Permutation

_TASKS = ("icons/image-text", "emoji/image-class", "games/audio-class", "games/video-audio")


def experiment(data: Path, *, steps: int = 8) -> Experiment:
    """Four of the quickstart's tasks, each trained twice."""
    whole = quickstart(data)
    tasks = tuple(task for task in whole.tasks if task.name in _TASKS)
    return dataclasses.replace(
        whole, name="restart", tasks=tasks, steps=steps, sampler=Permutation()
    )


def compare(data: Path, *, rounds: int) -> None:
    """Prints the CPU seconds of whole processes, and what the second one compiled."""
    empty, kept = [], []
    with tempfile.TemporaryDirectory(prefix="imp-restart-") as name:
        root = Path(name)
        programs = root / "compiled"
        for number in range(rounds):
            shutil.rmtree(programs, ignore_errors=True)
            empty.append(_run(data, root / f"empty-{number}", programs))
            before = set(programs.iterdir())
            kept.append(_run(data, root / f"kept-{number}", programs))
            compiled = len(set(programs.iterdir()) - before)
    print(
        f"a run of four tasks, 8 steps: {arms.median_cpu(empty):.1f} CPU s with no compiled "
        f"programs, {arms.median_cpu(kept):.1f} with those of an earlier run, which compiled "
        f"{compiled}"
    )


def _run(data: Path, workdir: Path, programs: Path) -> arms.Cost:
    options = ("--data", data, "--workdir", workdir, "--cache", programs)
    return arms.run("imp_train.cli", "run", f"{__file__}:experiment", *options)
