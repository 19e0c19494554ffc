"""Conformance: a build means the same on every runner that can run here, a lost worker included."""

import contextlib
import json
import os
import shutil
import signal
import threading
import time

import numpy as np
import pytest
from PIL import Image

from imp_data.pipelines import near_pairs
from imp_data.pipelines.build import build_dataset
from imp_data.views import ImageView


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """96 pictures of three labels, and one that is cut short."""
    root = tmp_path_factory.mktemp("source")
    rng = np.random.default_rng(0)
    for i in range(96):
        folder = root / "train" / "abc"[i % 3]
        folder.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (300, 400, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")
    whole = (root / "train/a/0.png").read_bytes()
    (root / "train/b/cut.png").write_bytes(whole[: len(whole) // 2])
    return root


def build(source, out, *beam_options, **options):
    build_dataset(
        source=f"folder:{source}",
        out=out,
        name="pictures",
        views=[ImageView(size=64), ImageView(size=32)],
        formats=("tensorstore", "tfrecord"),
        shard_examples=4,
        num_threads=1,
        pipeline_options=beam_options,
        progress=False,
        **options,
    )
    return {
        path.relative_to(out).as_posix(): path.read_bytes()
        for path in out.rglob("*")
        if path.is_file()
    }


@pytest.fixture(scope="module")
def expected(source, tmp_path_factory):
    return build(source, tmp_path_factory.mktemp("in-process") / "out")


@contextlib.contextmanager
def dask_cluster():
    """A scheduler and two worker processes on loopback."""
    from distributed import LocalCluster

    with LocalCluster(
        n_workers=2,
        threads_per_worker=1,
        processes=True,
        host="127.0.0.1",
        dashboard_address=None,
    ) as cluster:
        yield cluster


def test_threads_of_the_in_process_runner(source, tmp_path, expected):
    options = ["--direct_running_mode=multi_threading", "--direct_num_workers=2"]
    assert build(source, tmp_path / "out", *options) == expected


def test_dask(source, tmp_path, expected):
    with dask_cluster() as cluster:
        address = f"--dask_client_address={cluster.scheduler_address}"
        assert build(source, tmp_path / "out", "--runner=DaskRunner", address) == expected


def test_dask_drops_the_same_near_duplicates(source, tmp_path, monkeypatch):
    """In several chunks, and no round too small for the runner."""
    copies = tmp_path / "source"
    shutil.copytree(source, copies)
    for number in (3, 6, 9):
        shutil.copy(source / f"train/a/{number}.png", copies / f"train/b/copy-{number}.png")
        with Image.open(source / f"train/a/{number}.png") as picture:
            picture.resize((200, 150)).save(copies / f"train/c/half-{number}.png")
    expected = build(copies, tmp_path / "here", dedup=True)
    monkeypatch.setattr("imp_data.pipelines.references.CHUNK", 20)
    monkeypatch.setattr(near_pairs, "SMALL", 0)
    with dask_cluster() as cluster:
        address = f"--dask_client_address={cluster.scheduler_address}"
        found = build(copies, tmp_path / "out", "--runner=DaskRunner", address, dedup=True)
    assert found == expected
    report = json.loads(found["near_duplicates/report.json"])
    assert len(report["drops"]) == 6


def test_a_misspelt_option_is_refused_before_any_work(source, tmp_path):
    with pytest.raises(ValueError, match="knows no option --direct_num_worker;"):
        build(source, tmp_path / "out", "--direct_num_worker=2")
    assert not (tmp_path / "out/receipts").exists()


def test_dask_with_a_worker_killed_midway(source, tmp_path, expected):
    out = tmp_path / "out"
    killed = []

    def kill_one_after_the_first_shard(pid):
        while not any((out / "receipts").glob("*.json")):
            time.sleep(0.005)
        os.kill(pid, signal.SIGKILL)
        killed.append(len(list((out / "receipts").glob("*.json"))))

    with dask_cluster() as cluster:
        pid = cluster.workers[0].process.pid
        killer = threading.Thread(target=kill_one_after_the_first_shard, args=(pid,))
        killer.start()
        address = f"--dask_client_address={cluster.scheduler_address}"
        assert build(source, out, "--runner=DaskRunner", address) == expected
        killer.join()
    assert killed[0] < 25, "the build was over before the worker was killed"
