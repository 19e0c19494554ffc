"""Runs killed at random moments, saves included, beside one that never was: equal to the bit?"""

import dataclasses
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

import numpy as np
from tqdm import tqdm

from imp_train.config import Experiment
from imp_train.experiments.quickstart import quickstart
from imp_train.inspect import digest


def experiment(data: pathlib.Path, *, steps: int = 240) -> Experiment:
    """Three of the quickstart's tasks, saving every 10 steps, so that many a kill meets a save."""
    whole = quickstart(data)
    names = ("emoji/image-class", "games/audio-class", "instruments/audio-label")
    tasks = tuple(task for task in whole.tasks if task.name in names)
    return dataclasses.replace(
        whole, name="killed", tasks=tasks, steps=steps, checkpoint_every=10, log_every=5
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Kills:
    """Kills real runs with SIGKILL and starts them again until they end, and compares parameters,
    moments, metrics and bundle with those of a run left alone."""

    data: pathlib.Path = pathlib.Path("quickstart/data")
    """The quickstart's datasets."""
    kills: int = 20
    """At least so many; the run that meets the last of them goes on to its end."""
    steps: int = 240
    seed: int = 0
    """Of the moments."""

    def run(self) -> None:
        root = pathlib.Path(tempfile.mkdtemp(prefix="imp-kills-"))
        try:
            self._run(root)
        finally:
            shutil.rmtree(root)

    def _run(self, root: pathlib.Path) -> None:
        whole = root / "whole"
        # Once to compile, once to know how long it takes.
        _finish(self._begin(root / "first"))
        began = time.monotonic()
        _finish(self._begin(whole))
        length = time.monotonic() - began
        rng = np.random.default_rng(self.seed)
        killed = saving = runs = 0
        with tqdm(total=self.kills, unit="kill", disable=None) as bar:
            while killed < self.kills:
                workdir, runs, done = root / f"run-{runs}", runs + 1, False
                while not done:
                    process = self._begin(workdir)
                    # Past the end of the kills, to the end of the run.
                    wait = float(rng.uniform(0, length)) if killed < self.kills else None
                    try:
                        process.wait(wait)
                    except subprocess.TimeoutExpired:
                        process.kill()
                        process.wait()
                        killed += 1
                        saving += any(workdir.glob("checkpoints/*tmp*"))
                        bar.update()
                    else:
                        _finish(process)
                        done = True
                _compare(whole, workdir)
        print(
            f"{killed} kills, {saving} of them during a save, of {runs} runs of {self.steps} "
            f"steps: all ended as the one that was left alone in {length:.0f} s, to the bit"
        )

    def _begin(self, workdir: pathlib.Path) -> "subprocess.Popen[str]":
        command = [sys.executable, "-P", "-m", "imp_train.cli", "run", f"{__file__}:experiment"]
        command += ["--data", str(self.data), "--workdir", str(workdir)]
        command += ["--steps", str(self.steps), "--cache", str(workdir.parent / "compiled")]
        return subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )


def _finish(process: "subprocess.Popen[str]") -> None:
    said = process.communicate()[1]
    if process.returncode:
        raise ValueError(f"a run ended with status {process.returncode}: {said.strip()[-2000:]}")


def _compare(whole: pathlib.Path, other: pathlib.Path) -> None:
    """Raises ValueError naming what is not equal."""
    for file in ("metrics.jsonl", "bundle/params.safetensors"):
        if (whole / file).read_bytes() != (other / file).read_bytes():
            raise ValueError(f"{other.name}/{file} is not that of the run that was left alone")
    if digest(whole, moments=True) != digest(other, moments=True):
        raise ValueError(f"{other.name}: the last checkpoint is not that of the run left alone")
