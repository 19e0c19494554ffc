"""The command line: the paper's counts, and one line for a mistake."""

import json

import pytest

from imp_model.cli import main
from imp_model.config import SIZES


def test_list_names_every_size(capsys):
    assert main(["list"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == list(SIZES)


@pytest.mark.parametrize(("name", "per_token"), [("imp-moe-b", 90), ("imp-moe-l", 350)])
def test_describe_as_json_agrees_with_the_paper(capsys, name, per_token):
    assert main(["describe", name, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    counts = found["parameters"]
    names = ("backbone", "embedders", "projections", "heads")
    assert counts["total"] == sum(counts[name] for name in names)
    assert counts["of which experts"] == found["config"]["num_moe_layers"] * (
        found["config"]["num_experts"] * 2 * found["config"]["width"] * found["config"]["mlp"]
    )
    low, high = found["parameters_per_token"]["backbone"], found["parameters_per_token"]["total"]
    assert low < per_token * 1e6 < 1.05 * high
    assert found["inputs"]["video"]["tokens"] == 1024
    assert (
        found["inputs"]["video"]["forward_gflops"] > 4 * found["inputs"]["image"]["forward_gflops"]
    )


def test_describe_prints_a_table_for_every_size(capsys):
    for name in SIZES:
        assert main(["describe", name]) == 0
        out = capsys.readouterr().out
        assert out.startswith(f"{name}: parameters\n")
        assert "GFLOPs" in out
        assert "Adam's moments" in out


def test_an_unknown_size_is_one_line(capsys):
    assert main(["describe", "imp-xl"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("imp-model: model size 'imp-xl' is unknown; one of imp-s")
    assert captured.err.count("\n") == 1
