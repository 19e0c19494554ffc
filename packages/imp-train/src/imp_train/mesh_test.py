"""A run goes on, on any mesh of any number of processes, to the end that one device comes to.

Run as a program, it is one process of such a run: devices are fixed once one has begun with JAX.
"""

import dataclasses
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

from imp_model import bundle
from imp_train.compile import use_persistent_cache
from imp_train.conftest import tiny
from imp_train.placement import MeshShape
from imp_train.processes import Processes, leave
from imp_train.train import train

WAIT = 600


def experiment(data, name="pictures"):
    """A task of the tiny one with batches that eight devices can share, and DropToken."""
    plain = tiny(data)
    (task,) = (task for task in plain.tasks if task.name == name)
    (variant,) = task.variants
    variant = dataclasses.replace(variant, batch_size=8, drop={"image": 0.5})
    task = dataclasses.replace(task, variants=(variant,))
    return dataclasses.replace(plain, tasks=(task,), checkpoint_every=2)


@pytest.fixture
def begin(data, cache):
    """begin(workdir, …): one process for each of `number`, each with so many devices."""
    begun = []

    def begin(workdir, *, devices, number=1, port=0, **options):
        env = os.environ | {"XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}"}
        told = {"data": str(data), "workdir": str(workdir), "cache": str(cache)} | options
        for index in range(number):
            told["processes"] = {
                "coordinator": f"127.0.0.1:{port}" if number > 1 else None,
                "number": number,
                "index": index,
                "lost_after": 10,
            }
            command = [sys.executable, "-P", "-m", "imp_train.mesh_test", json.dumps(told)]
            pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
            begun.append(subprocess.Popen(command, env=env, text=True, **pipes))
        return begun[-number:]

    yield begin
    for process in begun:
        process.kill()
        process.communicate()


def end(processes, expected=0):
    said = [process.communicate(timeout=WAIT)[0] for process in processes]
    for process, text in zip(processes, said, strict=True):
        assert expected is None or process.returncode == expected, text
    return said


@pytest.fixture
def port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for_steps(workdir, count, processes):
    """Until so many are recorded."""
    path = workdir / "metrics.jsonl"
    while not path.exists() or len(path.read_text().splitlines()) < count:
        assert all(process.poll() is None for process in processes)
        time.sleep(0.1)


def losses(workdir):
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def test_one_process_then_two_on_a_mesh_then_one_come_to_one_end(data, begin, tmp_path, port):
    one, many = tmp_path / "one", tmp_path / "many"
    made = experiment(data)
    train(made, one, progress=False)
    train(made, many, progress=False, stop_after=2)
    mesh = {"fsdp": 2, "expert": 2, "model": 2}
    end(begin(many, devices=4, number=2, port=port, stop_after=4, mesh=mesh))
    train(made, many, progress=False)
    ours, theirs = losses(one), losses(many)
    assert len(ours) == 6
    for record, other in zip(ours, theirs, strict=True):
        assert (record["step"], record["task"]) == (other["step"], other["task"])
        for name in ("loss", "grad_norm"):
            np.testing.assert_allclose(record[name], other[name], rtol=2e-4, err_msg=name)
    a, b = (bundle.load(path / "bundle").model for path in (one, many))
    found = bundle.flatten(b.parts)
    for name, value in bundle.flatten(a.parts).items():
        # Adam divides what is near zero by itself: only far larger differences are errors.
        np.testing.assert_allclose(value, found[name], atol=2e-3, err_msg=name)


def test_a_save_that_one_of_them_can_not_read_is_left_by_all(begin, tmp_path, port):
    mesh = {"fsdp": 4}
    end(begin(tmp_path, devices=2, number=2, port=port, stop_after=4, mesh=mesh))
    written_by_one = tmp_path / "checkpoints" / "4" / "state" / "ocdbt.process_1" / "d"
    for path in written_by_one.iterdir():
        path.write_bytes(b"cut")
    first, second = end(begin(tmp_path, devices=2, number=2, port=port, mesh=mesh))
    assert "step 4 is damaged (another process could not read it)" in first
    assert "going back to the one before" in second
    assert len(losses(tmp_path)) == 6


def test_a_signal_to_one_stops_all_who_go_on_and_end_when_one_is_killed(begin, tmp_path, port):
    processes = begin(tmp_path, devices=1, number=2, port=port, for_ever=True)
    wait_for_steps(tmp_path, 2, processes)
    processes[1].send_signal(signal.SIGTERM)
    said, _ = end(processes)
    stopped = int(said.split()[-1])
    assert stopped % 2 == 0
    steps = sorted(int(path.name) for path in (tmp_path / "checkpoints").iterdir())
    assert steps[-1] == stopped

    processes = begin(tmp_path, devices=1, number=2, port=port, for_ever=True)
    wait_for_steps(tmp_path, stopped + 2, processes)
    processes[1].kill()
    said, _ = end(processes, expected=None)
    assert processes[0].returncode == 2, said
    assert "start all of them again" in said.splitlines()[-1]
    assert len(losses(tmp_path)) > stopped


@pytest.mark.parametrize(
    ("mesh", "message"),
    [
        ({"data": 2}, "is of 2 devices, of 1 that there are"),
        ({"expert": 4}, "must divide 1"),
    ],
)
def test_a_mesh_that_does_not_fit_is_refused(data, tmp_path, mesh, message):
    with pytest.raises(ValueError, match=message):
        train(experiment(data), tmp_path / "run", progress=False, mesh=MeshShape(**mesh))
    assert not (tmp_path / "run").exists()


def test_a_batch_that_a_mesh_cannot_share_is_refused(begin, tmp_path):
    (process,) = begin(tmp_path / "run", devices=3)
    said = process.communicate(timeout=WAIT)[0]
    assert process.returncode == 2
    assert "a batch of 8 can't be spread over data x fsdp x expert = 3 devices; 6 or 9" in said
    assert not (tmp_path / "run").exists()


def main(told):
    """One process of a run; for ever, of one task that compiles soon."""
    Processes(**told["processes"]).join()
    use_persistent_cache(pathlib.Path(told["cache"]))
    for_ever = told.get("for_ever", False)
    made = experiment(pathlib.Path(told["data"]), "classes" if for_ever else "pictures")
    if for_ever:
        made = dataclasses.replace(made, steps=10**6, checkpoint_every=10**6)
    summary = train(
        made,
        pathlib.Path(told["workdir"]),
        progress=False,
        mesh=MeshShape(**told.get("mesh", {})),
        stop_after=told.get("stop_after"),
    )
    print("step", summary.step, flush=True)


if __name__ == "__main__":
    try:
        main(json.loads(sys.argv[1]))
    except (ValueError, OSError) as error:
        print(error, flush=True)
        leave(2)
