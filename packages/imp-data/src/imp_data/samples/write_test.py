import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from imp_data.samples import ALL, write_samples
from imp_data.samples import write as write_module
from imp_data.samples.corpus import Corpus


def _tree(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_two_processes_write_what_one_writes_and_a_second_call_reuses_it(tmp_path: Path) -> None:
    first = write_samples(tmp_path / "two", corpora=("icons", "errands"), limit=2)
    again = write_samples(tmp_path / "two", corpora=("errands", "icons"), limit=2)
    write_samples(tmp_path / "one", corpora=("errands",), limit=2, processes=1)

    assert list(again) == ["errands", "icons"]
    assert not any(written.reused for written in first.values())
    assert all(written.reused for written in again.values())
    assert again["icons"].counts == first["icons"].counts == {"test": 2, "train": 2}
    assert _tree(tmp_path / "one" / "errands") == _tree(tmp_path / "two" / "errands")
    complete = json.loads((tmp_path / "two" / "icons" / "complete.json").read_text())
    assert (complete["seed"], complete["counts"]) == (0, {"test": 2, "train": 2})
    assert complete["packages"]["resvg-py"]


def test_another_seed_replaces_the_corpus_but_not_its_test_split(tmp_path: Path) -> None:
    write_samples(tmp_path, corpora=("icons",), limit=2, processes=1)
    before = _tree(tmp_path / "icons")
    left_by_a_killed_run = tmp_path / ".icons.partial" / "images" / "half.png"
    left_by_a_killed_run.parent.mkdir(parents=True)
    left_by_a_killed_run.write_bytes(b"\x89PNG")
    written = write_samples(tmp_path, corpora=("icons",), limit=2, processes=1, seed=1)
    after = _tree(tmp_path / "icons")

    assert not written["icons"].reused
    assert not left_by_a_killed_run.exists()
    assert "images/half.png" not in after
    rows = [line.split(",") for line in after["manifest.csv"].decode().splitlines()[1:]]
    same = {split: before[path] == after[path] for path, _, split in rows}
    assert same == {"train": False, "test": True}


def test_a_folder_of_someone_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "icons").mkdir()
    (tmp_path / "icons" / "mine.txt").write_text("keep")
    with pytest.raises(ValueError, match=r"holds no complete\.json"):
        write_samples(tmp_path, corpora=("icons",), limit=1)
    assert (tmp_path / "icons" / "mine.txt").read_text() == "keep"


def test_wrong_arguments_are_told_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'icon' is unknown; one of icons, emoji, games"):
        write_samples(tmp_path, corpora=("icon",))
    with pytest.raises(ValueError, match="processes 0"):
        write_samples(tmp_path, processes=0)
    with pytest.raises(ValueError, match="limit 0"):
        write_samples(tmp_path, limit=0)


def test_a_missing_package_names_the_extra() -> None:
    assert all(write_module.CORPORA[name].name == name for name in ALL)
    icons = write_module.CORPORA["icons"]
    corpus = Corpus(
        name="icons",
        version=1,
        packages={"no_such_package": "no-such"},
        plan=icons.plan,
        write_chunk=icons.write_chunk,
        finish=icons.finish,
    )
    with pytest.raises(ModuleNotFoundError, match=r"need no-such: pip install 'imp-data\[samp"):
        corpus.require_packages()


def test_the_package_imports_without_the_extra() -> None:
    heavy = ["ale_py", "dynamic_font", "minigrid", "pygame", "resvg_py", "midirenderer", "jax"]
    code = f"import sys, imp_data.samples; sys.exit(bool(set({heavy!r}) & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def _write_errands(root: Path) -> None:
    write_samples(root, corpora=("errands",), processes=1)


def test_an_interrupt_leaves_nothing_half_written(tmp_path: Path) -> None:
    process = multiprocessing.get_context("spawn").Process(target=_write_errands, args=(tmp_path,))
    process.start()
    partial = tmp_path / ".errands.partial" / "episodes"
    deadline = time.monotonic() + 60
    while not partial.is_dir() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert partial.is_dir()
    assert process.pid is not None
    os.kill(process.pid, signal.SIGINT)
    process.join(60)

    assert process.exitcode == 1
    assert list(tmp_path.iterdir()) == []
