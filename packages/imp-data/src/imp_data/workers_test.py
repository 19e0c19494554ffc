"""Batches of processes are the batches of the thread; whatever ends, nothing is left."""

import collections
import contextlib
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from imp_data.augment import Augment
from imp_data.datasets import Dataset
from imp_data.loader import Loader
from imp_data.stores.examples import index_path
from imp_data.views import ImageView, TextView
from imp_data.workers import Workers

VIEW = ImageView(size=4)
# Prints each step's examples; interrupted or killed, it says what it can no more.
ITERATE = """
import json, signal, sys
from imp_data.datasets import Dataset
from imp_data.loader import Loader
from imp_data.views import ImageView

# A shell's background jobs ignore interrupts, and so would their children.
signal.signal(signal.SIGINT, signal.default_int_handler)
path, stop = sys.argv[1:]
loader = Loader(
    Dataset.load(path), split="train", views=[ImageView(size=4)], batch_size=8, seed=7,
    num_workers=2,
)
for batch in loader.batches(0, int(stop)):
    print(json.dumps(batch.index.tolist()), flush=True)
"""


def loader(dataset, **options):
    options = {"split": "train", "views": [VIEW], "batch_size": 8, "seed": 7} | options
    return Loader(dataset, **options)


def children(parent: int | None = None) -> set[int]:
    """The processes alive whose parent is `parent`, this one by default."""
    found = set()
    for path in pathlib.Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            state, above = path.read_text().rpartition(")")[2].split()[:2]
            if int(above) == (parent or os.getpid()) and state != "Z":
                found.add(int(path.parent.name))
    return found


def gone(processes) -> bool:
    """Whether they all end, waiting for as long as a machine under load may take."""
    for _ in range(600):
        alive = []
        for process in processes:
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                stat = pathlib.Path(f"/proc/{process}/stat").read_text()
                alive += [process] if stat.rpartition(")")[2].split()[0] != "Z" else []
        if not alive:
            return True
        time.sleep(0.1)
    return False


def descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


def start(path, steps):
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen(
        [sys.executable, "-c", ITERATE, str(path), str(steps)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        text=True,
        process_group=0,
    )


def test_workers_make_what_the_thread_makes_and_leave_nothing(greys, grey_tokenizer):
    before, open_before = children(), descriptors()
    options = {
        "views": [VIEW, TextView(length=8)],
        "tokenizer": grey_tokenizer,
        "augment": Augment(crop_scale=(0.8, 1.0), brightness=0.1),
        "labels": "multi_hot",
    }
    for num_workers, prefetch, stop in ((1, 3, 2), (3, 1, 9)):
        with loader(greys, num_workers=num_workers, prefetch=prefetch, **options) as several:
            made = several.batches(1, stop)
            assert len(children() - before) == num_workers
            wanted = [loader(greys, **options).batch(step) for step in range(1, stop)]
            for batch, other in zip(made, wanted, strict=True):
                assert batch.inputs.keys() == other.inputs.keys()
                for key, array in other.inputs.items():
                    assert batch.inputs[key].dtype == array.dtype
                    np.testing.assert_array_equal(batch.inputs[key], array)
                np.testing.assert_array_equal(batch.labels, other.labels)
                np.testing.assert_array_equal(batch.index, other.index)
            # The end of the steps was the end of the processes.
            assert children() == before
    assert descriptors() == open_before


def test_an_endless_iteration_ends_with_its_loader(greys):
    before, open_before = children(), descriptors()
    with loader(greys, num_workers=2) as endless:
        batches = iter(endless)
        first = next(batches)
        kept = first.inputs["image"].copy()
        for _ in range(6):
            next(batches)
        # A batch is the caller's own, however many come after it.
        np.testing.assert_array_equal(first.inputs["image"], kept)
    assert next(batches, None) is None
    assert (children(), descriptors()) == (before, open_before)


def test_an_error_comes_where_its_batch_would_and_ends_the_rest(greys, tmp_path):
    shutil.copytree(greys.path, tmp_path / "out")
    before, open_before = children(), descriptors()
    order = np.concatenate([b.index for b in loader(greys, batch_size=1).batches(0, 37)])
    shards, _ = greys.shards("train").locate(order)
    sound = max(np.flatnonzero(shards == shard)[0] for shard in set(shards))
    index = tmp_path / "out" / index_path("train", int(shards[sound]))
    index.write_bytes(index.read_bytes()[:-1] + b"?")
    damaged = Dataset.load(tmp_path / "out")
    batches = loader(damaged, batch_size=1, num_workers=2).batches(0)
    made = []
    with pytest.raises(ValueError, match=rf"{index.name} .*imp-data verify"):
        made.extend(iter(batches))
    assert np.concatenate([batch.index for batch in made]).tolist() == order[:sound].tolist() != []
    assert next(batches, None) is None
    assert (children(), descriptors()) == (before, open_before)


@pytest.mark.parametrize("moment", ["at work", "between batches"])
def test_a_worker_that_dies_is_an_error(greys, moment):
    before, open_before = children(), descriptors()
    batches = loader(greys, num_workers=2).batches(0)
    if moment == "between batches":
        next(batches)
    for process in children() - before:
        os.kill(process, signal.SIGKILL)
    with pytest.raises(ChildProcessError, match=r"worker \d+ was ended by SIGKILL; start again"):
        collections.deque(batches, 0)
    assert next(batches, None) is None
    assert (children(), descriptors()) == (before, open_before)


def test_a_worker_that_fails_is_an_error(capfd):
    before = children()
    batches = Workers(abs, [-1, -2], num_workers=1)
    with pytest.raises(ChildProcessError, match=r"worker \d+ exited with 1"):
        next(batches)
    assert "AttributeError" in capfd.readouterr().err
    assert children() == before


@pytest.mark.parametrize("ended_by", [signal.SIGKILL, signal.SIGINT])
def test_nothing_outlives_a_process_that_is_ended(greys, ended_by):
    with start(greys.path, 10**9) as process:
        assert process.stdout is not None
        process.stdout.readline()
        workers = children(process.pid)
        assert len(workers) == 2
        # As a terminal does, to all of its group.
        os.killpg(process.pid, ended_by)
        _, errors = process.communicate()
        assert gone(workers)
        assert process.returncode == -ended_by
        # Of the workers, no word.
        assert errors.count("Traceback") == (ended_by == signal.SIGINT)


@pytest.mark.parametrize(("seed", "num_hosts"), [(1, 4), (2, 2), (3, 8)])
def test_killed_at_any_step_and_resumed_on_other_hosts_the_union_is_exact(greys, seed, num_hosts):
    steps = 40
    with start(greys.path, steps) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(random.Random(seed).randrange(1, 25))]
        process.kill()
        lines += process.stdout.readlines()
    seen = [json.loads(line) for line in lines if line.endswith("\n")]
    assert 0 < len(seen) <= steps
    hosts = [loader(greys, shards=(host,), num_shards=num_hosts) for host in range(num_hosts)]
    for step in range(len(seen), steps):
        seen.append([i for host in hosts for i in host.batch(step).index.tolist()])
    assert seen == [loader(greys).batch(step).index.tolist() for step in range(steps)]
