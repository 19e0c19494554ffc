"""Checkpoints: parameters, moments and positions, saved in the background by Orbax."""

import contextlib
import copy
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orbax.checkpoint as ocp

from imp_data.stores.atomic import write_file
from imp_train.config import Experiment, as_recorded
from imp_train.state import TrainState

FORMAT = 1


class Checkpoints:
    """The last few saves of a run; one interrupted half-way is never taken for whole."""

    def __init__(self, directory: Path, *, keep: int = 2) -> None:
        self._directory = directory.absolute()
        self._manager = ocp.CheckpointManager(
            self._directory,
            options=ocp.CheckpointManagerOptions(
                max_to_keep=keep, create=True, cleanup_tmp_directories=True
            ),
        )

    def save(self, state: TrainState) -> None:
        """In the background. Raises OSError where it, or the save before it, has no room."""
        with self._room_told():
            self._manager.wait_until_finished()
        arrays = state.arrays()
        needed = sum(array.nbytes for array in arrays.values())
        free = shutil.disk_usage(self._directory).free
        if free < needed:
            raise OSError(self._no_room(f"{needed / 2**20:,.1f} MiB", f"{free / 2**20:,.1f} MiB"))
        # A copy: it is written in the background, while training goes on.
        progress = copy.deepcopy(
            {
                "format": FORMAT,
                "step": state.step,
                "positions": state.positions,
                "skipped": state.skipped,
                "sampler": state.sampler,
            }
        )
        self._manager.save(
            state.step,
            args=ocp.args.Composite(
                state=ocp.args.StandardSave(arrays), progress=ocp.args.JsonSave(progress)
            ),
        )

    @property
    def latest_step(self) -> int | None:
        return self._manager.latest_step()

    def restore(self, state: TrainState) -> TrainState:
        """The latest save, laid out as `state` is; or `state` itself if there is none.

        Raises ValueError for one of a format that this version doesn't know.
        """
        step = self._manager.latest_step()
        if step is None:
            return state
        # Before the arrays: another format may name them otherwise.
        progress = self._part(step, progress=ocp.args.JsonRestore())
        if (found := progress.get("format", 1)) != FORMAT:
            raise ValueError(
                f"{self._directory / str(step)} is a checkpoint of format {found}, this version "
                f"reads {FORMAT}: upgrade imp-train"
            )
        arrays = self._part(step, state=ocp.args.StandardRestore(state.arrays()))
        restored = state.with_arrays(arrays)
        restored.step = progress["step"]
        restored.positions = dict(progress["positions"])
        restored.skipped = progress["skipped"]
        restored.sampler = progress["sampler"]
        return restored

    def _part(self, step: int, **wanted: Any) -> Any:
        [name] = wanted
        return self._manager.restore(step, args=ocp.args.Composite(**wanted))[name]

    def close(self) -> None:
        """Waits for a save under way. Raises OSError where it finds no room."""
        try:
            with self._room_told():
                self._manager.wait_until_finished()
        finally:
            self._manager.close()

    @contextlib.contextmanager
    def _room_told(self) -> Iterator[None]:
        """What fills the disk while a save is under way comes as whatever its writer made of it."""
        try:
            yield
        except (ValueError, OSError) as error:
            if "No space left on device" not in str(error):
                raise
            raise OSError(self._no_room("more room", "too little")) from error

    def _no_room(self, needed: str, free: str) -> str:
        last = self._manager.latest_step()
        kept = "there is none before it" if last is None else f"that of step {last} is whole"
        return (
            f"a checkpoint needs {needed}, and {free} is free at {self._directory}; {kept}: make "
            "room, and the same command goes on"
        )


def check_experiment(workdir: Path, text: str, experiment: Experiment) -> None:
    """A workdir belongs to one experiment: records it, or raises ValueError if it is another's.

    `text` is all that tells `experiment` from others, as JSON.
    """
    path = workdir / "experiment.json"
    if not path.exists():
        workdir.mkdir(parents=True, exist_ok=True)
        write_file(path, text.encode())
        return
    ours, theirs = json.loads(text), as_recorded(json.loads(path.read_text()), experiment)
    if ours != theirs:
        differs = [k for k in ours | theirs if ours.get(k) != theirs.get(k)]
        raise ValueError(
            f"{workdir} holds another experiment (it differs in {', '.join(differs)}); "
            "choose another --workdir, or delete it"
        )
