"""Scoring a run's bundle by `imp-eval evaluate`, in a process of its own: the figures of a study
are those that anyone gets."""

import importlib.util
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from imp_train.studies.study import Score

_MODULE = "imp_eval"


def check_installed() -> None:
    """Before hours of training. Raises ValueError where imp-eval is missing."""
    if importlib.util.find_spec(_MODULE) is None:
        raise ValueError(
            "studies score with imp-eval, which is not installed: pip install imp-eval"
        )


def score(
    bundle: Path,
    out: Path,
    *,
    benchmarks: Sequence[str],
    tasks: Sequence[str],
    compiled: Path,
    batch_size: int,
) -> tuple[Score, ...]:
    """`compiled` keeps programs for the next call. Raises ValueError with its message if it
    fails."""
    command = [sys.executable, "-P", "-m", f"{_MODULE}.cli", "evaluate", "--bundle", str(bundle)]
    command += ["--out", str(out), "--compilation-cache", str(compiled)]
    command += ["--benchmark", *benchmarks, "--tasks", *tasks, "--batch-size", str(batch_size)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise ValueError(f"{bundle} can't be scored: {done.stderr.strip()[-2000:]}")
    found = json.loads((out / "results.json").read_text())
    names = ("benchmark", "task", "modality", "metric", "value", "chance")
    return tuple(Score(**{name: own[name] for name in names}) for own in found["scores"])
