"""Records kept and cut, and their summary."""

import sys

import jax.numpy as jnp
import numpy as np
import pytest

from imp_train import metrics
from imp_train.conftest import MODEL
from imp_train.inputs import Choice
from imp_train.metrics import Metrics
from imp_train.rates import Rates
from imp_train.throughput import Throughput


def test_summary_by_task_and_variant():
    records = [{"task": "a", "variant": "base", "loss": float(loss)} for loss in (9, 7, 5, 5, 3, 1)]
    records.insert(2, {"task": "b", "variant": "half", "loss": 4.0})
    assert metrics.summary(records) == [
        {"name": "a", "variant": "base", "steps": 6, "loss_first": 8.0, "loss_last": 2.0},
        {"name": "b", "variant": "half", "steps": 1, "loss_first": 4.0, "loss_last": 4.0},
    ]
    (row,) = metrics.summary(
        [{"task": "a", "variant": "base", "loss": float(x)} for x in range(90)], over=10
    )
    assert (row["loss_first"], row["loss_last"]) == (4.5, 84.5)


def test_records_survive_and_what_is_repeated_is_cut(make, tmp_path):
    task = make().tasks[0]
    choice = Choice(task, task.variants[0])

    def write(start, losses, skipped=()):
        log = Metrics(tmp_path, start=start, steps=9, progress=False)
        for step, loss in enumerate(losses, start):
            log.add(
                step,
                choice,
                {
                    "loss": jnp.float32(loss),
                    "skipped": jnp.bool_(step in skipped),
                    "image/expert_load": np.ones((1, 2), np.float32) / 2,
                },
            )
        count = sum(seen.skipped for seen in log.flush())
        log.close()
        return count

    assert write(0, [5, 4, 3, 2], skipped=(1, 3)) == 2
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 4, "ta')
    assert write(2, [30, 20]) == 0
    records = metrics.read(tmp_path)
    assert [(r["step"], r["loss"]) for r in records] == [(0, 5), (1, 4), (2, 30), (3, 20)]
    assert records[0]["task"] == "pictures"
    assert records[0]["image/expert_load"] == [[0.5, 0.5]]


def test_a_workdir_without_metrics_says_what_to_do(tmp_path):
    with pytest.raises(FileNotFoundError, match="imp-train run"):
        metrics.read(tmp_path)


def test_the_live_line_tells_rates_and_the_tasks_just_trained():
    rates = Rates(steps=1.0, examples=64.0, tokens=2_048.0, mfu=None)
    assert metrics.live(rates, {"icons": 2.3456, "emoji": 0.5}) == (
        "64 examples/s, 2.05 k tokens/s, icons 2.35, emoji 0.5"
    )
    assert metrics.live(None, {}) == ""


def test_the_line_on_a_terminal_has_count_and_rates(make, tmp_path, capsys, monkeypatch):
    task = make().tasks[0]
    choice = Choice(task, task.variants[0])
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    throughput = Throughput(MODEL, now=0.0, peak=None)
    log = Metrics(tmp_path, start=0, steps=9, progress=True, throughput=throughput)
    for step in range(2):
        throughput.add(choice.key, choice.variant)
        log.add(step, choice, {"loss": jnp.float32(2.5), "skipped": jnp.bool_(False)})
    log.flush()
    log.close()
    line = capsys.readouterr().err.rstrip().split("\r")[-1]
    assert line.startswith("train 2/9 |")
    assert "examples/s, " in line
    assert line.endswith("pictures 2.5")
