"""Balance and affinity against loads made by hand."""

import json

from imp_train.studies import routers
from imp_train.studies.report_test import STUDY, VALUES, runs
from imp_train.studies.study import workdir_of


def write(workdir, loads, dropped=0.25):
    """Ten steps that take turns at the modalities; one layer."""
    workdir.mkdir(parents=True)
    lines = []
    for step in range(10):
        modality = list(loads)[step % len(loads)]
        load = [loads[modality]] if step > 5 else [[1.0, 0.0]]
        record = {f"{modality}/expert_load": load, f"{modality}/dropped_tokens": [dropped]}
        lines.append(json.dumps({"step": step, "loss": 1.0} | record) + "\n")
    (workdir / "metrics.jsonl").write_text("".join(lines))


def test_experts_of_ones_own_and_experts_that_all_share(tmp_path):
    write(tmp_path / "own", {"image": [1.0, 0.0], "text": [0.0, 1.0]})
    assert routers.measured(tmp_path / "own") == {
        "imbalance": 1.0,
        "affinity": 0.5,
        "dropped": 0.25,
    }
    write(tmp_path / "shared", {"image": [0.75, 0.25], "text": [0.75, 0.25]})
    assert routers.measured(tmp_path / "shared") == {
        "imbalance": 1.5,
        "affinity": 0.0,
        "dropped": 0.25,
    }


def test_the_table_has_a_row_for_each_arm_that_routes(tmp_path):
    found = runs(VALUES)
    for own in found:
        loads = {"image": [0.6, 0.4]} if own.arm == "first" else {}
        place = workdir_of(tmp_path, own.arm, own.seed)
        if loads:
            write(place, loads)
        else:
            place.mkdir(parents=True)
            (place / "metrics.jsonl").write_text('{"step": 0, "loss": 1.0}\n')
    text = routers.table(STUDY, tmp_path, found)
    assert "| first | 1.200 ± 0.000 | 0.000 ± 0.000 | 0.250 ± 0.000 |\n" in text
    assert "second" not in text


def test_without_routers_there_is_no_table(tmp_path):
    found = runs(VALUES)
    for own in found:
        place = workdir_of(tmp_path, own.arm, own.seed)
        place.mkdir(parents=True)
        (place / "metrics.jsonl").write_text('{"step": 0, "loss": 1.0}\n')
    assert routers.table(STUDY, tmp_path, found) == ""
    assert routers.measured(place) is None
