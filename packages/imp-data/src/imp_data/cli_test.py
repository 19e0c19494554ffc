import os
import signal
import subprocess
import sys
import time

import pytest
from PIL import Image

from imp_data import cli, view_names
from imp_data.views import AudioView, ImageView, VideoView


@pytest.fixture
def source(tmp_path):
    for i in range(12):
        folder = tmp_path / "source" / ("train", "test")[i % 2] / "thing"
        folder.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (i * 20, 0, 0)).save(folder / f"red-{i}.png")
    return tmp_path / "source"


def test_build_tokenizer_inspect_verify(source, tmp_path, capsys):
    out = tmp_path / "out"
    build = ["build", "--source", f"folder:{source}", "--out", str(out), "--views", "image-8"]
    build += ["--format", "both", "--caption-from", "stem"]
    assert cli.main(build) == 0
    said = "6 train, 6 test examples of image + text, 1 label, 0 rejects at"
    assert said in capsys.readouterr().out
    assert cli.main([*build[:6], "image-4", *build[7:]]) == 2
    assert "it was built with views image-8, not image-4; choose" in capsys.readouterr().err
    model = tmp_path / "t.model"
    tokenizer = ["tokenizer", "--data", str(out), "--out", str(model), "--vocab-size", "300"]
    assert cli.main(tokenizer) == 0
    assert (out / "tokenizer.model").read_bytes() == model.read_bytes()
    other = tmp_path / "other"
    assert cli.main([*build[:4], str(other), *build[5:]]) == 0
    assert cli.main(["tokenizer", "--data", str(other), "--model", str(model)]) == 0
    assert (other / "tokenizer.model").read_bytes() == model.read_bytes()
    sheet = tmp_path / "sheet.png"
    assert cli.main(["inspect", str(out), "--sheet", str(sheet)]) == 0
    assert "6 captions, 6 distinct, words 2 to 2" in capsys.readouterr().out
    with Image.open(sheet) as picture:
        assert picture.size[0] == 768
    assert cli.main(["verify", str(out)]) == 0
    next((out / "tfrecord").glob("train-*")).write_bytes(b"x")
    assert cli.main(["verify", str(out)]) == 1
    assert "changed: tfrecord/train-00000.tfrecord" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["verify", "/nowhere"], "no dataset at /nowhere"),
        (["inspect", "/nowhere", "--", "--runner=x"], "are for build alone"),
        (
            ["build", "--source", "folder:/nowhere", "--out", "OUT", "--views", "image-8"],
            "no folder at /nowhere",
        ),
        (
            ["build", "--source", "folder:SOURCE", "--out", "OUT", "--views", "image"],
            "view 'image' is unknown; write image-SIZE",
        ),
    ],
)
def test_mistakes_take_one_line_and_status_2(source, tmp_path, capsys, arguments, message):
    places = {"SOURCE": str(source), "OUT": str(tmp_path / "out")}
    for name, place in places.items():
        arguments = [argument.replace(name, place) for argument in arguments]
    assert cli.main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("imp-data: ")
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "view",
    [
        ImageView(size=64),
        VideoView(frames=16, size=64, fps=7.5),
        AudioView(frames=32),
        AudioView(frames=32, num_mels=64, hop=512),
    ],
)
def test_a_view_s_key_names_it(view):
    assert view_names.parse(view.key) == view


def test_an_interrupted_build_says_so_and_goes_on(source, tmp_path):
    out = tmp_path / "out"
    command = [sys.executable, "-m", "imp_data.cli", "build", "--source", f"folder:{source}"]
    command += ["--out", str(out), "--views", "image-8", "--shard-examples", "1"]
    run = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, preexec_fn=_interruptible)
    # The first shard's folder is the sign that Beam runs; interrupt between two shards.
    while run.poll() is None and not (out / "receipts").exists():
        time.sleep(0.005)
    os.kill(run.pid, signal.SIGINT)
    _, error = run.communicate(timeout=600)
    if run.returncode == 130:
        assert error.splitlines()[-1] == "imp-data: stopped; run it again to go on"
        assert "Traceback" not in error
        assert not (out / "manifest.json").exists()
    else:
        assert run.returncode == 0, error
    assert cli.main(command[3:]) == 0
    assert cli.main(["verify", str(out)]) == 0


def _interruptible():
    """A shell's background jobs ignore interrupts, and so would their children."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
