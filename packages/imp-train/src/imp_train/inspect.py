"""What a workdir holds: how far the run is, what it took, its losses, its parameters' digest."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import orbax.checkpoint as ocp

from imp_data.stores.atomic import write_file
from imp_data.wording import count
from imp_train import metrics
from imp_train.columns import aligned
from imp_train.hush import hush_orbax

_SESSIONS = "sessions.json"


def add_session(workdir: Path, session: Mapping[str, Any]) -> None:
    """Notes what a call to `train` did: {"start", "step", "signatures", "seconds": {…}}."""
    text = json.dumps([*sessions(workdir), session], indent=1)
    write_file(workdir / _SESSIONS, text.encode())


def sessions(workdir: Path) -> list[dict[str, Any]]:
    """Those that ended; one that was killed told nothing."""
    path = workdir / _SESSIONS
    return json.loads(path.read_text()) if path.exists() else []


@dataclasses.dataclass(frozen=True, kw_only=True)
class Progress:
    """`step` is the last one that the metrics tell of, `saved` the last checkpoint's."""

    name: str
    step: int
    steps: int
    saved: int | None
    finished: bool
    skipped: int
    sessions: list[dict[str, Any]]
    tasks: list[dict[str, Any]]

    def __str__(self) -> str:
        state = "finished" if self.finished else f"saved at step {self.saved or 0:,}"
        lines = [f"{self.name}: step {self.step:,} of {self.steps:,}, {state}"]
        if self.sessions:
            lines.append(_spent(self.sessions))
        if self.skipped:
            lines.append(f"{self.skipped:,} steps skipped: their loss or gradient was not finite")
        rows = [("task", "variant", "steps", "first loss", "last loss")]
        rows += [
            (
                row["name"],
                row["variant"],
                f"{row['steps']:,}",
                f"{row['loss_first']:.3f}",
                f"{row['loss_last']:.3f}",
            )
            for row in self.tasks
        ]
        return "\n".join([*lines, "", *aligned(rows, right="<<>>>")])


def inspect(workdir: Path) -> Progress:
    """Raises FileNotFoundError where no run has begun."""
    records = metrics.read(workdir)
    experiment = json.loads((workdir / "experiment.json").read_text())
    return Progress(
        name=experiment["name"],
        step=records[-1]["step"] + 1 if records else 0,
        steps=experiment["steps"],
        saved=_saved(workdir),
        finished=(workdir / "bundle").exists(),
        # A mixed step has several records.
        skipped=len(
            {r["step"] for r in records if not np.isfinite([r["loss"], r["grad_norm"]]).all()}
        ),
        sessions=sessions(workdir),
        tasks=metrics.summary(records),
    )


def digest(workdir: Path, *, moments: bool = False) -> tuple[int, str]:
    """The last checkpoint's step, and the SHA-256 of its parameters: names, shapes, dtypes, values.

    Equal digests, equal parameters to the bit, and with `moments` the optimizer's too.
    Raises FileNotFoundError where nothing is saved yet.
    """
    step = _saved(workdir)
    if step is None:
        raise FileNotFoundError(f"{workdir} has no checkpoint yet; let the run save one")
    hush_orbax()
    path = workdir.absolute() / "checkpoints" / str(step) / "state"
    handler = ocp.PyTreeCheckpointHandler()
    kinds = ("params/", "moments/") if moments else ("params/",)
    names = sorted(name for name in handler.metadata(path).tree if name.startswith(kinds))
    total = hashlib.sha256()
    with ocp.Checkpointer(handler) as checkpointer:
        for name in names:
            # One at a time: all of them may not fit this machine.
            value = checkpointer.restore(
                path,
                args=ocp.args.PyTreeRestore(
                    item={name: 0},
                    restore_args={name: ocp.RestoreArgs(restore_type=np.ndarray)},
                    partial_restore=True,
                ),
            )[name]
            total.update(f"{name} {value.dtype} {value.shape}\n".encode())
            total.update(np.ascontiguousarray(value).reshape(-1).view(np.uint8).data)
    return step, total.hexdigest()


def _saved(workdir: Path) -> int | None:
    folders = (workdir / "checkpoints").glob("*")
    return max((int(path.name) for path in folders if path.name.isdigit()), default=None)


def _spent(sessions: list[dict[str, Any]]) -> str:
    total, compiling, waiting = (
        sum(own["seconds"][kind] for own in sessions) for kind in ("total", "compile", "waiting")
    )
    programs = sum(own["signatures"] for own in sessions)
    return (
        f"{total:,.0f} s in {count(len(sessions), 'session', 'sessions')}: "
        f"{count(programs, 'program', 'programs')} compiled in "
        f"{compiling:,.1f} s ({compiling / total:.2%}) while others trained, {waiting:,.1f} s "
        f"({waiting / total:.2%}) waiting for data"
    )
