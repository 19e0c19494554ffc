"""The command line, in this process and as a process that a signal stops."""

import contextlib
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

from imp_train import metrics
from imp_train.checkpoint import Checkpoints
from imp_train.cli import main

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
    assert main(["inspect", str(whole[0])]) == 0
    rows = capsys.readouterr().out.splitlines()
    assert {row.split()[0] for row in rows} == {"pictures", "classes"}
    assert sum(int(row.split()[2]) for row in rows) == 6
