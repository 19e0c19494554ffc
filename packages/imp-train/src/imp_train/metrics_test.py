"""Records kept and cut, and their summary."""

import jax.numpy as jnp
import numpy as np
import pytest

from imp_train import metrics
from imp_train.inputs import Choice
from imp_train.metrics import Metrics


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
