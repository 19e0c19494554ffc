import contextlib
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from imp_eval.cli import main
from imp_eval.client import Client, read_file
from imp_eval.conftest import png, wav


@pytest.fixture
def folder(tmp_path) -> pathlib.Path:
    for i in range(3):
        path = tmp_path / "pictures" / f"class-{i % 2}" / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(i))
    (tmp_path / "pictures" / "notes.md").write_text("not ours")
    return tmp_path / "pictures"


def test_index_search_classify_embed(address, folder, capsys, tmp_path) -> None:
    at = ["--address", address]
    assert main(["index", str(folder), "--collection", "cli", *at]) == 0
    assert "3 of 3 image files indexed into cli" in capsys.readouterr().out
    assert main(["search", "a", "red", "thing", "--collection", "cli", "--k", "2", *at]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2
    one = folder / "class-1" / "1.png"
    assert main(["search", "--file", str(one), "--collection", "cli", *at]) == 0
    assert capsys.readouterr().out.splitlines()[0] == "1.0000\tclass-1/1.png\tfolder=class-1"
    where = ["--where", "folder=class-0", "--exact"]
    assert main(["search", "a", "thing", "--collection", "cli", *where, *at]) == 0
    found = [line.split("\t")[1] for line in capsys.readouterr().out.splitlines()]
    assert sorted(found) == ["class-0/0.png", "class-0/2.png"]
    both = ["--where", "folder=class-0", "--where", "folder2=x"]
    assert main(["search", "a", "thing", "--collection", "cli", *both, *at]) == 0
    assert capsys.readouterr().out == "", "every condition holds"
    assert main(["collections", *at]) == 0
    assert "cli\t3 image by text\texact search\n" in capsys.readouterr().out
    top = tmp_path / "pictures" / "top.png"
    top.write_bytes(png(7))
    assert main(["index", str(folder), "--collection", "cli", *at]) == 0
    capsys.readouterr()
    assert main(["search", "--file", str(top), "--collection", "cli", "--k", "1", *at]) == 0
    assert capsys.readouterr().out == "1.0000\ttop.png\n"
    assert main(["classify", str(one), "--classes", "cat", "dog", *at]) == 0
    assert capsys.readouterr().out.startswith(f"{one}\t")
    out = tmp_path / "vectors.npz"
    assert main(["embed", str(one), "--target", "text", "--out", str(out), *at]) == 0
    with np.load(out) as arrays:
        assert arrays["ids"].tolist() == [str(one)]
        assert arrays["vectors"].shape == (1, 32)
    assert main(["embed", "--text", "a", "a", "--target", "image", "--out", str(out), *at]) == 0
    with np.load(out) as arrays:
        assert arrays["ids"].tolist() == ["a", "a"]


def test_a_folder_is_streamed(address, folder, capsys, tmp_path) -> None:
    out, at = tmp_path / "vectors.npz", ["--target", "text", "--address", address]
    assert main(["embed", str(folder), "--out", str(out), *at]) == 0
    with np.load(out) as arrays:
        ids = arrays["ids"].tolist()
        assert ids == [str(path) for path in sorted(folder.rglob("*.png"))]
        with Client(address) as client:
            want = client.embed([read_file(path) for path in ids], "text")
        assert arrays["vectors"].tobytes() == np.stack(want).tobytes()
    broken = folder / "broken.png"
    broken.write_bytes(b"?")
    capsys.readouterr()
    assert main(["embed", str(folder), *at]) == 2
    told, complaints = capsys.readouterr()
    assert len(told.splitlines()) == 3
    assert f"imp-eval: {broken}: not a readable image" in complaints


@pytest.mark.parametrize(
    "how", [["--callers", "2"], ["--rate", "30"], ["--stream", "--callers", "1"]]
)
def test_bench_prints_what_callers_met(address, capsys, how) -> None:
    command = ["bench", "--text", "a", "b", "--target", "image", "--seconds", "0.4", *how]
    assert main([*command, "--address", address]) == 0
    pattern = r"[\d,.]+ items/s, \d+ calls: p50 [\d.]+ ms, p95 [\d.]+ ms, p99 [\d.]+ ms\n"
    assert re.fullmatch(pattern, capsys.readouterr().out)


def test_what_a_user_gets_wrong_is_told_in_one_line(address, folder, capsys, tmp_path) -> None:
    at = ["--address", address]
    broken, empty = tmp_path / "broken.png", tmp_path / "empty"
    broken.write_bytes(png(0)[:200])
    empty.mkdir()
    only_broken = tmp_path / "only-broken"
    only_broken.mkdir()
    (only_broken / "a.png").write_bytes(png(0)[:200])
    notes, empty_file = tmp_path / "a.txt", tmp_path / "classes"
    notes.write_text("a")
    empty_file.write_text("\n \n")
    (folder / "sound.wav").write_bytes(wav(0))
    with Client(address) as client:
        client.create_collection("sounds", "audio", "video")
    cases = [
        (["serve", "--bundle", str(empty)], "holds no bundle"),
        (["serve", "--bundle", str(empty), "--port", "70000"], "must lie within 0-65535"),
        (["embed", "gone.png", *at], "no file gone.png"),
        (["embed", "what.xyz", *at], "tells no modality; give it with --modality"),
        (["embed", str(broken), *at], f"{broken}: not a readable image"),
        (["embed", str(broken), "--modality", "smell", *at], "'smell' is unknown"),
        (["embed", str(broken), "--out", "gone/x.npz", *at], "gone is no folder"),
        (["embed", *at], "nothing to embed; give files or --text"),
        (["serve", "--bundle", str(empty), "--tls-cert", "x"], "needs both --tls-cert and"),
        (["bench", *at], "nothing to embed"),
        (["token", "a b"], "must be one word"),
        (["search", "x", "--collection", "none", *at], "no collection 'none'"),
        (["search", "--collection", "none", *at], "give either words or --file"),
        (["search", "x", "--collection", "x", "--k", "0", *at], "--k 0 must be at least 1"),
        (["classify", str(broken), "--top-k", "0", *at], "--top-k 0 must be at least 1"),
        (["classify", str(empty), "--classes", "a", *at], f"{empty} is a folder; give its files"),
        (["search", "x", "--collection", "x", "--where", "y", *at], "'y' must be FIELD=VALUE"),
        (["classify", str(broken), *at], "holds no class names"),
        (["classify", "--classes", "a", str(broken), *at], "put files before --classes"),
        (["embed", "--text", "a", str(broken), *at], f"--text took the file {broken} too"),
        (["index", str(folder / "class-0"), "--collection", "sounds", *at], "holds audio, not"),
        (["index", str(empty), "--collection", "x", *at], "holds no media files"),
        (["index", str(folder), "--collection", "x", *at], "3 image, 1 audio files; choose"),
        (["index", "gone", "--collection", "x", *at], "no folder gone"),
        (["index", str(broken), "--collection", "x", *at], "is a file; give the folder"),
        (["index", str(only_broken), "--collection", "x", *at], "not a readable image"),
        (["classify", str(notes), "--classes", "a", *at], "is text; what is classified is images"),
        (
            ["classify", str(broken), "--classes-file", str(empty_file), *at],
            "no class names; write",
        ),
        (["search", "x", "--collection", "x", "--where", "y=1", "--where", "y=2", *at], "twice"),
        (["delete", "--collection", "sounds", *at], "give either ids or --where"),
        (["delete", "a", "--collection", "sounds", *at], "1 of these ids are not in sounds"),
        (["classify", "--classes", "a", "--classes", "b", *at], "--classes stands there 2 times"),
        (["drop", "none", *at], "no collection 'none'"),
        (["collections", "--address", "localhost"], "must be HOST:PORT, such as 127.0.0.1:50051"),
        (["collections", "--address", "http://a:1"], "must be HOST:PORT"),
        (["bench", "--text", "a", "--address", "a:99999"], "must be HOST:PORT"),
    ]
    for argv, message in cases:
        assert main(argv) == 2
        [line] = capsys.readouterr().err.splitlines()
        assert line.startswith("imp-eval: ")
        assert message in line
    with Client(address) as client:
        assert "x" not in {own.name for own in client.collections()}, "made for nothing"


def test_items_and_collections_go_by_command(address, folder, capsys) -> None:
    at = ["--address", address]

    def held() -> str:
        capsys.readouterr()
        assert main(["collections", *at]) == 0
        return capsys.readouterr().out

    assert main(["index", str(folder), "--collection", "gone", *at]) == 0
    assert main(["delete", "class-1/1.png", "--collection", "gone", *at]) == 0
    assert "gone\t2 image by text" in held()
    assert main(["delete", "--collection", "gone", "--where", "folder=class-0", *at]) == 0
    assert "gone\t0 image by text" in held()
    assert main(["drop", "gone", *at]) == 0
    assert "gone\t" not in held()


def test_class_names_from_a_file(address, folder, capsys, tmp_path) -> None:
    names = tmp_path / "names.txt"
    names.write_text("a cat\n\n a dog \n")
    one = str(folder / "class-1" / "1.png")
    assert main(["classify", one, "--classes-file", str(names), "--address", address]) == 0
    _, *found = capsys.readouterr().out.strip().split("\t")
    assert sorted(own.rpartition(" ")[0] for own in found) == ["a cat", "a dog"]


def test_one_reason_is_told_once(address, folder, capsys) -> None:
    for name in "abc":
        (folder / f"{name}.png").write_bytes(b"")
    (folder / "d.png").write_bytes(png(0)[:200])
    assert main(["index", str(folder), "--collection", "broken", "--address", address]) == 2
    out, err = capsys.readouterr()
    assert out == "3 of 7 image files indexed into broken\n"
    lines = [line for line in err.splitlines() if line.startswith("imp-eval: ")]
    assert len(lines) == 2
    assert lines[0].startswith(f"imp-eval: {folder}/a.png and 2 more: ")
    assert lines[1].startswith(f"imp-eval: {folder}/d.png: ")


def test_nobody_at_the_address(capsys, monkeypatch) -> None:
    start = time.monotonic()
    assert main(["search", "x", "--collection", "c", "--address", "127.0.0.1:1"]) == 2
    assert time.monotonic() - start < 20
    [line] = capsys.readouterr().err.splitlines()
    assert "no server answers at 127.0.0.1:1; start one with `imp-eval serve" in line


def test_serve_as_a_process_until_sigterm(bundle_path, cache, tmp_path) -> None:
    port_file = tmp_path / "port"
    command = [sys.executable, "-m", "imp_eval.cli", "serve", "--bundle", str(bundle_path)]
    command += ["--port", "0", "--port-file", str(port_file), "--batch-size", "8"]
    command += ["--compilation-cache", str(cache), "--data", str(tmp_path / "data")]
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run,
        contextlib.ExitStack() as ended,
    ):
        ended.callback(run.kill)
        assert run.stdout is not None
        line = run.stdout.readline().strip()
        port = int(port_file.read_text())
        assert line == f"ready on 127.0.0.1:{port}"
        assert main(["embed", "--text", "hi", "--target", "image", "--address", line[9:]]) == 0
        os.kill(run.pid, signal.SIGTERM)
        _, errors = run.communicate(timeout=600)
    assert run.returncode == 0
    assert "Traceback" not in errors
    assert errors.splitlines()[-1].endswith("stopped")
