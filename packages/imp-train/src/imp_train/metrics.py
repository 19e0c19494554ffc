"""Metrics: one JSON line a step, TensorBoard beside it, and the live line a person reads."""

import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from tqdm import tqdm

from imp_data.stores.atomic import write_file
from imp_train.board import Board
from imp_train.rates import Rated, Rates
from imp_train.schedule import Choice

_LINE = "{desc} {n_fmt}/{total_fmt} |{bar:8}| {elapsed}<{remaining}{postfix}"


class Seen(NamedTuple):
    """What a step came to."""

    step: int
    choice: Choice
    loss: float
    skipped: bool


class Metrics:
    """Scalars stay on the device until `flush`; what a resumed run repeats is cut off first."""

    def __init__(
        self,
        workdir: Path | None,
        *,
        start: int,
        steps: int,
        progress: bool,
        throughput: Rated | None = None,
    ) -> None:
        """Without a workdir nothing is written: another process does it. `throughput` is read at
        each `flush`."""
        path = Path(os.devnull) if workdir is None else workdir / "metrics.jsonl"
        if workdir is not None:
            _keep_before(path, start)
        self._file = path.open("a")
        self._board = None if workdir is None else Board(workdir / "tensorboard", start=start)
        self._pending: list[tuple[int, Choice, dict[str, jax.Array]]] = []
        self._losses: dict[str, float] = {}
        self._throughput = throughput
        self._bar = tqdm(
            total=steps,
            initial=start,
            desc="train",
            disable=None if progress else True,
            # Cut to the terminal's width; tqdm does so where there is a bar.
            dynamic_ncols=True,
            bar_format=_LINE,
        )

    def add(self, step: int, choice: Choice, values: dict[str, jax.Array]) -> None:
        self._pending.append((step, choice, values))
        # A mixed step has several records.
        self._bar.update(step + 1 - self._bar.n)

    def flush(self) -> list[Seen]:
        """Writes what is pending, and returns it in order."""
        seen = []
        pending, self._pending = self._pending, []
        for step, choice, values in jax.device_get(pending):
            task = choice.task.name
            skipped = bool(values.pop("skipped"))
            record: dict[str, Any] = {"step": step, "task": task, "variant": choice.variant.name}
            record |= {name: _plain(value) for name, value in values.items()}
            self._file.write(json.dumps(record) + "\n")
            for name, value in values.items():
                if self._board is not None and np.ndim(value) == 0:
                    self._board.add(f"train/{task}/{name}", float(value), step)
            loss = float(values["loss"])
            seen.append(Seen(step, choice, loss, skipped))
            self._losses[task] = loss + 0.7 * (self._losses.get(task, loss) - loss)
        self._file.flush()
        rates = None if self._throughput is None else self._throughput.read(time.monotonic())
        if rates is not None and self._board is not None and pending:
            for name, rate in rates.named().items():
                self._board.add(f"throughput/{name}", rate, pending[-1][0])
        if seen:
            fresh = {own.choice.task.name: self._losses[own.choice.task.name] for own in seen}
            self._bar.set_postfix_str(live(rates, fresh))
        return seen

    def close(self) -> None:
        self.flush()
        self._bar.close()
        if self._board is not None:
            self._board.close()
        self._file.close()


def live(rates: Rates | None, losses: Mapping[str, float]) -> str:
    """What the line tells after its count: rates, and the smoothed losses of tasks just trained."""
    words = [] if rates is None else [str(rates)]
    words += [f"{name} {loss:.3g}" for name, loss in losses.items()]
    return ", ".join(words)


def read(workdir: Path) -> list[dict[str, Any]]:
    """The records so far, in the order of the steps; a last line that is cut short is none."""
    path = workdir / "metrics.jsonl"
    if not path.is_file():
        if below := sorted(workdir.glob("*/metrics.jsonl")):
            raise FileNotFoundError(f"no run at {workdir}; {below[0].parent} is one: name that")
        raise FileNotFoundError(f"{path} is missing; train there with `imp-train run`")
    lines = path.read_text().splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]


def _plain(value: np.ndarray) -> Any:
    return np.round(np.asarray(value, np.float64), 6).tolist()


def _keep_before(path: Path, start: int) -> None:
    """Drops records at or past `start`, and a last line cut short by a kill."""
    if not path.exists():
        return
    kept = []
    for line in path.read_text().splitlines(keepends=True):
        if not line.endswith("\n") or json.loads(line)["step"] >= start:
            break
        kept.append(line)
    write_file(path, "".join(kept).encode())


def summary(records: Sequence[Mapping[str, Any]], *, over: int = 10) -> list[dict[str, Any]]:
    """For each task and variant its steps, and the mean loss of its first and last steps.

    The means run over at most `over` steps, and at most a third of the steps there are.
    """
    losses: dict[tuple[str, str], list[float]] = {}
    for record in records:
        losses.setdefault((record["task"], record["variant"]), []).append(record["loss"])
    rows = []
    for (name, variant), values in losses.items():
        k = max(1, min(over, len(values) // 3))
        rows.append(
            {
                "name": name,
                "variant": variant,
                "steps": len(values),
                "loss_first": float(np.mean(values[:k])),
                "loss_last": float(np.mean(values[-k:])),
            }
        )
    return rows
