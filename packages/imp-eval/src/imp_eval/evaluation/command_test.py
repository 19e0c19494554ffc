"""From files and a bundle to results, through the command line."""

import csv
import io
import json
import sys

import pytest
from PIL import Image

from imp_eval import evaluation
from imp_eval.cli import main
from imp_eval.conftest import png


@pytest.fixture(scope="module")
def done(bundle_path, cache, pictures, clips, sounds, tmp_path_factory):
    """The folder of one evaluation, and its arguments."""
    out = tmp_path_factory.mktemp("evaluated") / "out"
    specs = [
        f"mine=folder:{pictures}",
        f"clips=jsonl:{clips}/manifest.jsonl,clips=2",
        f"esc50:{sounds}",
    ]
    arguments = ["evaluate", "--bundle", str(bundle_path), "--out", str(out), "--benchmark", *specs]
    arguments += ["--tasks", "zero-shot", "retrieval", "knn", "linear-probe", "--resamples", "30"]
    assert main([*arguments, "--batch-size", "8"]) == 0
    return out, arguments


def test_results_are_written_for_machines_and_readers(done, bundle_path) -> None:
    out, _ = done
    content = json.loads((out / "results.json").read_text())
    rows = {(s["benchmark"], s["task"], s["modality"]) for s in content["scores"]}
    assert rows == {
        ("mine", "zero-shot", "image"),
        ("mine", "knn", "image"),
        ("mine", "linear-probe", "image"),
        ("clips", "retrieval", "text→video"),
        ("clips", "retrieval", "video→text"),
        ("esc50", "knn", "audio"),
        ("esc50", "linear-probe", "audio"),
    }
    for score in content["scores"]:
        assert score["low"] <= score["value"] <= score["high"], score
    assert content["bundle"]["metadata"]["step"] == 3
    about = {b["name"]: b for b in content["benchmarks"]}
    assert about["mine"]["left_out"].keys() == {"retrieval"}
    assert about["esc50"]["left_out"].keys() == {"zero-shot", "retrieval"}
    assert (about["clips"]["clips"], about["mine"]["clips"], about["mine"]["classes"]) == (2, 1, 3)
    text = (out / "results.md").read_text()
    assert [line for line in text.splitlines() if line.startswith("## ")] == [
        "## image",
        "## text→video",
        "## video→text",
        "## audio",
        "## mine",
        "## clips",
        "## esc50",
    ]
    # What it shows and links to is there.
    for name in ("mine-zero-shot-image", "esc50-knn-audio"):
        rows = list(csv.DictReader(io.StringIO((out / f"classes/{name}.csv").read_text())))
        assert f"(classes/{name}.csv)" in text
        assert sum(int(row["n"]) for row in rows) == (7 if "mine" in name else 12)
        for kind in ("confusion", "classes"):
            assert f"(plots/{name}-{kind}.png)" in text
            with Image.open(out / f"plots/{name}-{kind}.png") as picture:
                assert picture.width > 200


def test_a_rerun_says_the_same_and_reads_what_was_embedded(done, capsys) -> None:
    out, arguments = done
    before = (out / "results.json").read_bytes()
    kept = {p: p.stat().st_mtime_ns for p in (out / "features").iterdir()}
    assert main(arguments) == 0
    assert (out / "results.json").read_bytes() == before
    assert {p: p.stat().st_mtime_ns for p in (out / "features").iterdir()} == kept
    printed = capsys.readouterr().out
    assert "| mine      | zero-shot" in printed
    assert printed.endswith(f"{out}/results.md\n")


@pytest.mark.parametrize(
    ("specs", "message"),
    [
        ([], "no benchmark; give --benchmark"),
        (["folder:{root}", "folder:{root},sample=2"], "two benchmarks are named 'photos'"),
        (["folder:{root}/none"], "no folder at"),
        (["folder:{root}/empty"], "holds no image files"),
        (["dataset:{root}"], "no dataset at"),
        (["imagenet:{root}"], "no file LOC_synset_mapping.txt"),
        (["glob:{root}/a/*.png"], "nothing to score (zero-shot: no labels; retrieval: neither"),
        (["folder:{root}"], "b/broken.png: not a readable image"),
        (["csv:{root}/m.csv,root={root}"], "path 'c/none.txt' must end in one of"),
    ],
)
def test_what_a_user_gets_wrong_is_told_in_one_line(
    bundle_path, cache, tmp_path, capsys, specs, message
) -> None:
    root = tmp_path / "photos"
    for name, data in (("a/0.png", png(0)), ("b/broken.png", png(1)[:300])):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    (root / "empty").mkdir()
    (root / "m.csv").write_text("path,label\na/0.png,x\nc/none.txt,y\n")
    out = tmp_path / "out"
    filled = [spec.format(root=root) for spec in specs]
    arguments = ["evaluate", "--bundle", str(bundle_path), "--out", str(out)]
    assert main([*arguments, *(["--benchmark", *filled] if filled else [])]) == 2
    error = capsys.readouterr().err
    assert message in error, error
    assert len([line for line in error.splitlines() if line.startswith("imp-eval:")]) == 1
    assert not (out / "results.json").exists()


def test_broken_inputs_are_counted_where_they_are_allowed(
    bundle_path, cache, tmp_path, capsys
) -> None:
    for name, data in (("a/0.png", png(0)), ("a/1.png", png(1)), ("b/2.png", png(2)[:300])):
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "photos" / name).write_bytes(data)
    arguments = ["evaluate", "--bundle", str(bundle_path), "--out", str(tmp_path / "out")]
    arguments += ["--benchmark", f"folder:{tmp_path}/photos", "--max-reject-share", "0.5"]
    assert main(arguments) == 0
    content = json.loads((tmp_path / "out/results.json").read_text())
    [problem] = content["benchmarks"][0]["problems"]
    assert problem["id"] == "b/2.png"
    assert {score["n"] for score in content["scores"]} == {2}
    # The class whose only picture is broken is still among the answers.
    assert content["scores"][0]["chance"] == 0.5
    assert "1 inputs are no use" in (tmp_path / "out/results.md").read_text()


def test_a_serving_install_says_what_evaluation_needs(monkeypatch, capsys, tmp_path) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    for name in ("report", "plots"):
        monkeypatch.delitem(sys.modules, f"imp_eval.evaluation.{name}", raising=False)
        monkeypatch.delattr(evaluation, name, raising=False)
    assert main(["evaluate", "--bundle", str(tmp_path), "--out", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error == (
        "imp-eval: matplotlib is not installed; evaluation needs pip install "
        "'imp-eval[evaluation]'\n"
    )


@pytest.mark.parametrize("flag", [["--tasks", "detection"], ["--resamples", "0"]])
def test_bad_flags(bundle_path, pictures, tmp_path, capsys, flag) -> None:
    arguments = ["evaluate", "--bundle", str(bundle_path), "--out", str(tmp_path)]
    assert main([*arguments, "--benchmark", f"folder:{pictures}", *flag]) == 2
    assert flag[1].strip("'") in capsys.readouterr().err
