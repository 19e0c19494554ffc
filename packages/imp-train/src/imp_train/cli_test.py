"""The command line, in this process and as a process that a signal stops."""

import contextlib
import dataclasses
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from imp_data.views import ImageView, VideoView
from imp_model import bundle
from imp_model.bundle import flatten
from imp_train import cli, metrics
from imp_train.checkpoint import Checkpoints
from imp_train.cli import main
from imp_train.conftest import tiny
from imp_train.inspect import digest
from imp_train.objectives import SCE
from imp_train.tasks import Variant

# The tiny experiment under the real command line, without an end in sight.
SCRIPT = f"""
import runpy, sys
from imp_train import cli
tiny = runpy.run_path({str(Path(__file__).with_name("conftest.py"))!r})["tiny"]
cli.EXPERIMENTS["tiny"] = lambda data, **options: tiny(data, steps=10**6, log_every=1, **options)
sys.exit(cli.main(sys.argv[1:]))
"""


def test_sigterm_saves_and_exits_zero(data, cache, whole, tmp_path):
    command = [sys.executable, "-c", SCRIPT, "run", "tiny", "--data", str(data)]
    command += ["--workdir", str(tmp_path), "--cache", str(cache)]
    log = tmp_path / "metrics.jsonl"
    with (
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process,
        contextlib.ExitStack() as ended,
    ):
        # It would write into the other tests' compilation cache for ever.
        ended.callback(process.kill)
        while not (log.exists() and log.stat().st_size):
            assert process.poll() is None, process.communicate()
            time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=600)
    assert process.returncode == 0, err
    assert err.count("SIGTERM: saving, then stopping\n") == 1
    assert "Traceback" not in err
    assert out.splitlines()[-1] == "stopped; the same command goes on from here"
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    assert checkpoints.latest_step == len(metrics.read(tmp_path))
    checkpoints.close()


def test_what_the_caller_can_put_right_is_one_line_and_exit_2(data, capsys, tmp_path):
    for argv, said in (
        (["show", "slowstart", "--data", str(data)], "experiment 'slowstart' is unknown; one of"),
        (["run", "quickstart", "--data", str(data), "--workdir", str(tmp_path / "w")], "icons"),
        (["inspect", str(tmp_path)], "metrics.jsonl is missing"),
        (["study", "no-such", "--workdir", str(tmp_path / "w")], "study 'no-such' is unknown"),
        (["study", "experts", "--workdir", str(tmp_path / "w"), "--seeds", "0"], "--seeds 0"),
        (["study", "experts", "--workdir", str(tmp_path / "w"), "--scale", "vast"], "'vast'"),
    ):
        assert main(argv) == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.startswith("imp-train: ")
        assert said in captured.err
        assert captured.err.count("\n") == 1
    assert not (tmp_path / "w").exists()


def test_list_show_and_inspect(whole, data, capsys):
    assert main(["list"]) == 0
    names = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert names == ["quickstart", "ablation-s", "ablation-b", "imp-b", "imp-moe-b", "imp-moe-l"]
    for name in names:
        assert main(["show", name]) == 0
        assert capsys.readouterr().out.startswith(f"{name}: ")
        assert main(["show", name, "--seed", "7", "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["seed"] == 7
    assert main(["show", "ablation-b", "--steps", "9", "--batch", "8"]) == 0
    assert "9 steps" in capsys.readouterr().out
    assert main(["inspect", str(whole[0]), "--digest"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("tiny: step 6 of 6, finished\n")
    assert f"\nparameters at step 6: sha256 {digest(whole[0])[1]}\n" in out
    assert main(["inspect", str(whole[0]), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["tasks"]
    assert {row["name"] for row in rows} == {"pictures", "classes"}
    assert sum(row["steps"] for row in rows) == 6


def test_a_run_may_start_from_a_bundle(whole, data, cache, tmp_path, monkeypatch, capsys):
    """One step at rate 5e-3 moves no parameter much further than that."""
    monkeypatch.setitem(cli.EXPERIMENTS, "tiny", tiny)
    start = whole[0] / "bundle"
    argv = ["run", "tiny", "--data", str(data), "--cache", str(cache), "--steps", "1"]
    ends = {}
    for name, options in (("fresh", []), ("warm", ["--init-from", str(start)])):
        assert main([*argv, "--workdir", str(tmp_path / name), *options]) == 0
        ends[name] = flatten(bundle.load(tmp_path / name / "bundle").model.parts)
    before = flatten(bundle.load(start).model.parts)
    furthest = {
        name: max(float(np.abs(end[key] - before[key]).max()) for key in before)
        for name, end in ends.items()
    }
    assert furthest["warm"] < 6e-3 < furthest["fresh"]
    assert json.loads((tmp_path / "warm" / "experiment.json").read_text())["init_from"] == str(
        start
    )
    capsys.readouterr()
    nothing = ["--init-from", str(tmp_path / "none"), "--workdir", str(tmp_path / "new")]
    assert main([*argv, *nothing]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "new").exists()


def test_a_run_that_cannot_be_is_one_line_and_exit_2(whole, data, capsys, monkeypatch, tmp_path):
    """Nothing is written, and a run that was there is as it was."""

    def unequal(data, **options):
        (pictures, classes) = tiny(data).tasks
        base = classes.variants[0]
        double = dataclasses.replace(base, views=(ImageView(size=32),), name="double")
        task = dataclasses.replace(classes, variants=(base, double))
        return tiny(data, tasks=(pictures, task))

    def watching(data, **options):
        clip = VideoView(frames=4, size=16, fps=8)
        variant = Variant(views=(clip,), batch_size=4)
        classes = tiny(data).tasks[1]
        objective = SCE(modality="video", classifier="colours")
        task = dataclasses.replace(classes, objective=objective, variants=(variant,))
        return tiny(data, tasks=(task,))

    for name, function in (("tiny", tiny), ("unequal", unequal), ("watching", watching)):
        monkeypatch.setitem(cli.EXPERIMENTS, name, function)
    new = tmp_path / "new"
    kept = (whole[0] / "bundle" / "params.safetensors").read_bytes()
    for name, workdir, options, said in (
        ("nothing", new, [], "one of quickstart, ablation-s, ablation-b, imp-b, imp-moe-b"),
        ("tiny", whole[0], ["--seed", "9"], "another experiment (it differs in seed)"),
        ("unequal", new, [], "'classes' has unequal tokens a batch {'base': 16, 'double': 64}"),
        ("watching", new, [], "'classes' sees video; dataset labelled"),
        ("quickstart", new, ["--batch", "8"], "'quickstart' has no --batch; it has --minutes"),
        ("imp-b", new, ["--batch", "10"], "batch 10 must be a multiple of 4"),
    ):
        argv = ["run", name, "--data", str(data), "--workdir", str(workdir), *options]
        assert main(argv) == 2, name
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.startswith("imp-train: ")
        assert said in captured.err
        assert captured.err.count("\n") == 1
    assert not new.exists()
    assert (whole[0] / "bundle" / "params.safetensors").read_bytes() == kept


def test_a_function_of_ones_own_is_an_experiment(data, tmp_path, capsys):
    file = tmp_path / "mine.py"
    conftest = Path(__file__).with_name("conftest.py")
    file.write_text(
        f"import runpy\ntiny = runpy.run_path({str(conftest)!r})['tiny']\n"
        "def mine(data, *, steps=4):\n    'What I am after.'\n    return tiny(data, steps=steps)\n"
    )
    assert main(["show", f"{file}:mine", "--data", str(data), "--steps", "5"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("tiny: What I am after\n")
    assert "5 steps" in out
    for name, said in (
        (f"{file}:yours", "has no function 'yours'"),
        (f"{file}x.py:mine", "there is no file"),
        ("mine:mine", "or FILE.py:FUNCTION"),
    ):
        assert main(["show", name]) == 2
        assert said in capsys.readouterr().err
    assert main(["show", f"{file}:mine", "--seed", "1"]) == 2
    assert "has no --seed; it has --steps\n" in capsys.readouterr().err
