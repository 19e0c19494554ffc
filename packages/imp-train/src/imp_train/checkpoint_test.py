"""Checkpoints give back every array under its own name, and the positions."""

import dataclasses
import gc
import json
import shutil
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from imp_train import checkpoint
from imp_train.checkpoint import Checkpoints, check_experiment
from imp_train.config import as_recorded, to_json
from imp_train.initial import initial_state


@pytest.fixture
def damage_seen():
    """What a failed restore leaves behind would be told of within its own test."""
    yield
    gc.collect()


def test_everything_comes_back_where_it_was(make, tmp_path):
    labels = {"colours": ("blue", "red")}
    state = initial_state(make(), labels)
    numbered = {
        name: jnp.full(value.shape, i, value.dtype)
        for i, (name, value) in enumerate(state.arrays().items())
    }
    state = state.with_arrays(numbered)
    state.step, state.positions, state.skipped = 5, {"pictures/base": 3, "classes/base": 2}, 1
    for name, value in state.arrays().items():
        np.testing.assert_array_equal(value, numbered[name], err_msg=name)

    checkpoints = Checkpoints(tmp_path)
    fresh = initial_state(make(), labels)
    assert checkpoints.restore(fresh) is fresh
    state.sampler = {"losses": [[1.0], []]}
    checkpoints.save(state)
    # Training goes on while the save is written.
    state.positions["pictures/base"] += 1
    state.sampler["losses"][1].append(2.0)
    checkpoints.close()
    reopened = Checkpoints(tmp_path)
    assert reopened.latest_step == 5
    restored = reopened.restore(initial_state(make(), labels))
    reopened.close()
    assert (restored.step, restored.positions, restored.skipped) == (
        5,
        {"pictures/base": 3, "classes/base": 2},
        1,
    )
    assert restored.sampler == {"losses": [[1.0], []]}
    for name, value in restored.arrays().items():
        np.testing.assert_array_equal(value, numbered[name], err_msg=name)
    assert jax.tree.structure(restored.moments) == jax.tree.structure(fresh.moments)


def test_only_the_last_saves_are_kept(make, tmp_path):
    state = initial_state(make(), {"colours": ("blue", "red")})
    checkpoints = Checkpoints(tmp_path, keep=2)
    for step in (1, 2, 3):
        state.step = step
        checkpoints.save(state)
    checkpoints.close()
    assert sorted(p.name for p in tmp_path.iterdir() if p.is_dir()) == ["2", "3"]


def test_a_workdir_belongs_to_one_experiment(make, tmp_path):
    workdir = tmp_path / "run"
    check_experiment(workdir, to_json(make()), partial(as_recorded, value=make()))
    check_experiment(workdir, to_json(make()), partial(as_recorded, value=make()))
    with pytest.raises(ValueError, match=r"differs in steps\); choose another --workdir") as error:
        check_experiment(workdir, to_json(make(steps=7)), partial(as_recorded, value=make(steps=7)))
    assert "\n" not in str(error.value)


def test_a_workdir_of_a_version_without_a_field_goes_on_while_the_field_has_its_default(
    make, tmp_path
):
    recorded = json.loads(to_json(make()))
    del recorded["mixed"], recorded["model"]["remat"]
    del recorded["optimizer"]["rates"], recorded["tasks"][0]["variants"][0]["drop"]
    (tmp_path / "experiment.json").write_text(json.dumps(recorded))
    check_experiment(tmp_path, to_json(make()), partial(as_recorded, value=make()))
    changed = make(optimizer=dataclasses.replace(make().optimizer, rates=(("encoder", 0.1),)))
    with pytest.raises(ValueError, match=r"differs in optimizer\)"):
        check_experiment(tmp_path, to_json(changed), partial(as_recorded, value=changed))


def test_a_workdir_of_a_newer_version_is_another_experiment(make, tmp_path):
    """What this version does not know of, it can't go on with."""
    recorded = json.loads(to_json(make())) | {"invented_later": 1}
    (tmp_path / "experiment.json").write_text(json.dumps(recorded))
    with pytest.raises(ValueError, match=r"differs in invented_later\)"):
        check_experiment(tmp_path, to_json(make()), partial(as_recorded, value=make()))


def test_a_checkpoint_of_a_newer_format_is_refused_in_one_line(make, tmp_path, monkeypatch):
    state = initial_state(make(), {"colours": ("blue", "red")})
    monkeypatch.setattr(checkpoint, "FORMAT", 2)
    newer = Checkpoints(tmp_path)
    newer.save(state)
    newer.close()
    monkeypatch.undo()
    with pytest.raises(
        ValueError, match=r"/0 is a checkpoint of format 2, this version reads 1: upgrade imp-train"
    ) as error:
        Checkpoints(tmp_path).restore(state)
    assert "\n" not in str(error.value)


def test_a_full_disk_leaves_the_save_before(make, tmp_path, monkeypatch):
    state = initial_state(make(), {"colours": ("blue", "red")})
    needed = sum(array.nbytes for array in state.arrays().values())
    checkpoints = Checkpoints(tmp_path)
    state.step = 1
    checkpoints.save(state)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=needed - 1))
    state.step = 2
    message = (
        r"a checkpoint needs .* MiB, and .* MiB is free at .*; that of step 1 is whole: make room"
    )
    with pytest.raises(OSError, match=message):
        checkpoints.save(state)
    monkeypatch.undo()
    assert checkpoints.latest_step == 1
    checkpoints.save(state)
    checkpoints.close()
    assert Checkpoints(tmp_path).latest_step == 2


def test_a_disk_that_fills_during_a_save_is_told_in_a_line(make, tmp_path, monkeypatch):
    """As TensorStore words it: a ValueError, from the thread that writes."""
    state = initial_state(make(), {"colours": ("blue", "red")})
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(state)
    checkpoints.close()

    def full():
        raise ValueError("RESOURCE_EXHAUSTED: Failed to write: No space left on device [28]")

    monkeypatch.setattr(checkpoints._manager, "wait_until_finished", full)
    with pytest.raises(OSError, match=r"^a checkpoint needs more room.* step 0 is whole: make"):
        checkpoints.save(state)


def largest(folder):
    return max((p for p in folder.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)


def flip(folder):
    """One bit, in the middle of the largest file: Orbax itself does not see it."""
    path = largest(folder)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def cut(folder):
    path = largest(folder)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


DAMAGES = [flip, cut, lambda folder: largest(folder).unlink(), shutil.rmtree]


@pytest.mark.parametrize("damage", DAMAGES, ids=["flipped", "cut", "file lost", "all lost"])
@pytest.mark.usefixtures("damage_seen")
def test_a_damaged_save_is_told_and_the_one_before_is_taken(damage, make, tmp_path, caplog):
    labels = {"colours": ("blue", "red")}
    state = initial_state(make(), labels)
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    for step in (1, 2):
        state.step, state.positions = step, {"pictures/base": step}
        checkpoints.save(state)
    checkpoints.close()
    damage(tmp_path / "checkpoints" / "2" / "state")
    reopened = Checkpoints(tmp_path / "checkpoints")
    restored = reopened.restore(initial_state(make(), labels))
    assert (restored.step, restored.positions) == (1, {"pictures/base": 1})
    [record] = [own for own in caplog.records if own.name == "imp_train.checkpoint"]
    assert "step 2 is damaged (" in record.getMessage()
    assert (tmp_path / "damaged-step-2").is_dir()
    # Training comes to step 2 again, and saves it.
    reopened.save(state)
    reopened.close()
    again = Checkpoints(tmp_path / "checkpoints")
    assert again.restore(initial_state(make(), labels)).step == 2
    again.close()


@pytest.mark.usefixtures("damage_seen")
def test_where_no_save_can_be_read_nothing_is_moved_or_begun_anew(make, tmp_path):
    """It may be the storage that is away, and not the saves that are damaged."""
    state = initial_state(make(), {"colours": ("blue", "red")})
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    for step in (1, 2):
        state.step = step
        checkpoints.save(state)
    checkpoints.close()
    for step in (1, 2):
        flip(tmp_path / "checkpoints" / str(step) / "state")
    with pytest.raises(ValueError, match=r"no checkpoint in .* can be read \(.*another --workdir"):
        Checkpoints(tmp_path / "checkpoints").restore(state)
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["1", "2"]
    assert not list(tmp_path.glob("damaged*"))
