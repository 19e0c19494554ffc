"""The accelerator suite at no size, on CPU: its table, its JSON, and what breaks one section."""

import json
import sys

import pytest

from accelerator_suite import __main__ as launcher
from accelerator_suite import bring, sections
from accelerator_suite.report import Report


@pytest.fixture
def suite(tmp_path, monkeypatch):
    """Runs it: (what it returns, the JSON)."""
    # The launcher puts the packages in front.
    monkeypatch.setattr(sys, "path", [*sys.path])
    for name in ("XLA_PYTHON_CLIENT_MEM_FRACTION", "TF_CPP_MIN_LOG_LEVEL"):
        monkeypatch.setenv(name, "")

    def run(*arguments):
        out = tmp_path / "out.json"
        code = launcher.main(["--tiny", "--out", str(out), *arguments])
        return code, json.loads(out.read_text())

    return run


def test_a_few_sections_give_the_table_and_the_json(suite, capsys):
    names = ["device", "oracles: XLA experts", "oracles: cuDNN"]
    code, found = suite("--only", *names)
    assert code == 0
    assert found["schema"] == 1
    assert found["about"]["tiny"] is True
    by_name = {section["name"]: section for section in found["sections"]}
    assert [by_name[name]["status"] for name in names[:2]] == ["ok", "ok"]
    skipped = by_name["oracles: cuDNN attention"]
    assert skipped["status"] == "skipped"
    assert "needs an NVIDIA GPU, and this is a cpu" in skipped["error"]["message"]
    row = by_name["oracles: XLA experts"]["rows"][0]
    assert set(row) == {"what", "value", "unit", "aim", "met", "detail"}
    assert row["met"] is True
    assert by_name["oracles: XLA experts"]["compile_seconds"] > 0
    printed = capsys.readouterr().out
    table = printed[printed.rindex("| section | what |") :].splitlines()
    rows = [row for section in found["sections"] for row in section["rows"]]
    assert len(table) == 2 + len(rows) + 1
    assert all(line.count("|") == 6 for line in table)


def test_the_moe_step_is_timed_beside_the_dense_one(suite):
    code, found = suite("--only", "device", "training")
    assert code == 0
    training = next(s for s in found["sections"] if s["name"] == "training")
    values = {row["what"]: row["value"] for row in training["rows"]}
    assert values["imp-moe: step"] > 0
    assert 0 < values["imp-dense: MFU of the measured bf16 rate"] < 1
    assert values["MoE step to dense step"] > 0


def test_a_section_that_breaks_loses_no_other(suite, monkeypatch, capsys):
    def breaks(suite):
        suite.report.row("before it broke", 1.0, at_most=0.5)
        raise RuntimeError("no kernel image")

    def works(suite):
        suite.report.row("after", float("nan"), at_least=0.5)

    def planted(suite):
        return [(name, run, lambda suite: 0.0) for name, run in (("a", breaks), ("b", works))]

    monkeypatch.setattr(sections, "sections", planted)
    code, found = suite()
    assert code == 1
    first, second = found["sections"]
    assert first["status"] == "failed"
    assert first["error"]["type"] == "RuntimeError"
    assert "in breaks" in first["error"]["traceback"]
    assert first["rows"][0]["met"] is False
    # No number meets no aim.
    assert (second["status"], second["rows"][0]["met"]) == ("ok", False)
    assert second["rows"][0]["value"] == "nan"
    assert "| a | failed | no kernel image | | |" in capsys.readouterr().out


def test_a_section_without_time_is_not_begun():
    report = Report(None, {}, minutes=1)
    begun = []
    report.run("long", lambda: begun.append("long"), needs=61)
    report.run("short", lambda: begun.append("short"), needs=1)
    assert begun == ["short"]
    assert [section.status for section in report.sections] == ["skipped", "ok"]


def test_the_clock_keeps_what_is_known(tmp_path):
    out = tmp_path / "out.json"
    report = Report(out, {}, minutes=1)
    found = []

    def endless():
        report.row("first half", 2.0)
        report.finish()
        found.extend(json.loads(out.read_text())["sections"])

    report.run("endless", endless)
    [section] = found
    assert (section["status"], section["rows"][0]["value"]) == ("cut", 2.0)


def test_what_is_brought_runs_under_another_python(tmp_path):
    brought = bring.bring(tmp_path)
    assert any(name.startswith("jaxtyping ") for name in brought)
    # The machine's own fit its GPU.
    assert not {"jax", "jaxlib", "numpy", "flax"} & {path.name for path in tmp_path.iterdir()}
    compiled = [path.name for path in tmp_path.rglob("*.so")]
    assert all(".abi3." in name for name in compiled)
    assert sum(path.stat().st_size for path in tmp_path.rglob("*")) < 64 * 2**20
