"""Checkpoints: parameters, moments and positions, saved in the background by Orbax.

A save holds a checksum of each array, computed on the device and so whatever its sharding: storage
that gives back other bits than it got is found out, and the save before is taken.
"""

import contextlib
import copy
import dataclasses
import json
import logging
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp

from imp_data.stores.atomic import write_file
from imp_train.hush import hush_orbax
from imp_train.processes import any_of_them, is_first, wait_for_all
from imp_train.state import TrainState

log = logging.getLogger(__name__)
FORMAT = 1


class NewerFormatError(ValueError):
    """A checkpoint of a later version: whole, but not for this one."""


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
                "checksums": checksums(arrays),
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
        """The latest save that is whole, laid out as `state` is; or `state` itself if there is
        none. Those after it are moved out of the way.

        Raises ValueError where there are saves and none is whole, or where one is of a format that
        this version doesn't know.
        """
        hush_orbax()
        damaged: dict[int, str] = {}
        for step in sorted(self._manager.all_steps(), reverse=True):
            read: tuple[dict[str, Any], dict[str, jax.Array]] | None = None
            try:
                read = self._read(step, state)
            except NewerFormatError:
                raise
            # What a damaged file is found out by is whatever its reader makes of it. That it is
            # the file, and no fault of ours or of the storage's, shows by an older one that reads.
            except Exception as error:  # noqa: BLE001
                damaged[step] = str(error).partition("\n")[0] or type(error).__name__
            # Of several processes some may hold what is whole.
            if any_of_them(read is None):
                damaged.setdefault(step, "another process could not read it")
                continue
            assert read is not None
            progress, arrays = read
            if wrong := _wrong(progress, arrays):
                damaged[step] = f"{wrong} is not what was saved"
                continue
            for each, reason in damaged.items():
                self._move_away(each, reason)
            return dataclasses.replace(
                state.with_arrays(arrays),
                step=progress["step"],
                positions=dict(progress["positions"]),
                skipped=progress["skipped"],
                sampler=progress["sampler"],
            )
        if damaged:
            reason = damaged[max(damaged)]
            raise ValueError(
                f"no checkpoint in {self._directory} can be read ({reason}); see to the storage, "
                "or give another --workdir to begin anew"
            )
        return state

    def _read(self, step: int, state: TrainState) -> tuple[dict[str, Any], dict[str, jax.Array]]:
        """What a save tells of the run, and its arrays. Raises whatever comes of one that is
        damaged.

        Not by the manager: it has all processes wait for each other, and one that can't read its
        share never comes.
        """
        place = self._directory / str(step)
        # Before the arrays: another format may name them otherwise.
        progress = ocp.JsonCheckpointHandler().restore(
            place / "progress", args=ocp.args.JsonRestore()
        )
        if (format := progress.get("format", 1)) != FORMAT:
            raise NewerFormatError(
                f"{self._directory / str(step)} is a checkpoint of format {format}, this version "
                f"reads {FORMAT}: upgrade imp-train"
            )
        arrays = ocp.StandardCheckpointHandler().restore(
            place / "state", args=ocp.args.StandardRestore(state.arrays())
        )
        return progress, arrays

    def _move_away(self, step: int, reason: str) -> None:
        """So that training can save this step again."""
        place = self._directory.with_name(f"damaged-step-{step}")
        log.warning(
            "the checkpoint of step %d is damaged (%s): moved to %s, going back to the one before",
            step,
            reason,
            place,
        )
        if is_first():
            shutil.rmtree(place, ignore_errors=True)
            (self._directory / str(step)).rename(place)
        wait_for_all(f"step {step} is moved away")
        self._manager.reload()

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


def _wrong(progress: dict[str, Any], arrays: dict[str, jax.Array]) -> str | None:
    """An array of other bits than were saved, if there is one. Every process must ask."""
    # Saves of an earlier version have no checksums.
    kept = progress.get("checksums", {})
    found = checksums(arrays) if kept else {}
    return next((name for name in kept if found.get(name) != kept[name]), None)


def checksums(arrays: dict[str, jax.Array]) -> dict[str, int]:
    """Of each array's bits and their places. Every process must ask."""
    return {name: int(value) for name, value in jax.device_get(_checksums(arrays)).items()}


@jax.jit
def _checksums(arrays: dict[str, jax.Array]) -> dict[str, jax.Array]:
    def checksum(array: jax.Array) -> jax.Array:
        kind = {1: jnp.uint8, 2: jnp.uint16, 4: jnp.uint32}[array.dtype.itemsize]
        words = jax.lax.bitcast_convert_type(array, kind).astype(jnp.uint32)
        # Of a word times an odd number no bit is lost; each place has a number of its own.
        places = jnp.zeros((), jnp.uint32)
        for axis, size in enumerate(array.shape):
            along = jax.lax.broadcasted_iota(jnp.uint32, array.shape, axis)
            places = places * jnp.uint32(size) + along
        return jnp.sum(words * (2 * places + 1), dtype=jnp.uint32)

    return jax.tree.map(checksum, arrays)


def check_experiment(
    workdir: Path, text: str, as_now: Callable[[Any], Any] = lambda recorded: recorded
) -> None:
    """A workdir belongs to one experiment: records it, or raises ValueError if it is another's.

    `text` is all that tells the experiment from others, as JSON; `as_now` puts what an earlier
    version has recorded as this one would.
    """
    path = workdir / "experiment.json"
    if not path.exists():
        workdir.mkdir(parents=True, exist_ok=True)
        write_file(path, text.encode())
        return
    ours, theirs = json.loads(text), as_now(json.loads(path.read_text()))
    if ours != theirs:
        differs = [k for k in ours | theirs if ours.get(k) != theirs.get(k)]
        raise ValueError(
            f"{workdir} holds another experiment (it differs in {', '.join(differs)}); "
            "choose another --workdir, or delete it"
        )
