"""A study's table and figure."""

import dataclasses
import math

import pytest

from imp_train.studies import report
from imp_train.studies.study import Run, Score, Study

STUDY = Study(
    name="objectives",
    source="Table 2",
    claim="one beats the other",
    arms=dict.fromkeys(("first", "second"), lambda seed: pytest.fail("nothing is run here")),
    benchmarks=(),
)


def runs(values):
    """values[arm] has a row a seed: two benchmarks' zero-shot top-1."""
    return [
        Run(
            arm=arm,
            seed=seed,
            experiment="",
            steps=1_000,
            tokens=2_000_000,
            flops=3e12,
            parameters=1_000_000,
            seconds=1.0,
            scores=tuple(
                Score(
                    benchmark=name,
                    task="zero-shot",
                    modality="image",
                    metric="top-1",
                    value=value,
                    chance=0.1,
                )
                for name, value in zip("ab", row, strict=True)
            ),
        )
        for arm, rows in values.items()
        for seed, row in enumerate(rows)
    ]


VALUES = {"first": [(0.1, 0.3), (0.3, 0.5)], "second": [(0.2, 0.4), (0.4, 0.8)]}


def test_the_table_has_means_errors_and_differences_seed_by_seed():
    text = report.table(STUDY, runs(VALUES))
    assert "Table 2: one beats the other.\n" in text
    assert "| first | 1 M | 1 k | 2 M | 3 T |\n" in text
    assert "| mean zero-shot top-1 | 0.300 ± 0.100 | 0.450 ± 0.150 |\n" in text
    assert "| a image, zero-shot top-1 | 0.200 ± 0.100 | 0.300 ± 0.100 |\n" in text
    # 0.1 with the first seed, 0.2 with the second.
    assert text.endswith(
        "| held out | second |\n|---|---|\n| mean zero-shot top-1 | +0.150 ± 0.050 |\n"
    )


def test_one_seed_has_no_error():
    assert report.mean_and_error([0.5]) == (0.5, pytest.approx(math.nan, nan_ok=True))
    text = report.table(STUDY, runs({arm: rows[:1] for arm, rows in VALUES.items()}))
    assert "| mean zero-shot top-1 | 0.200 | 0.300 |\n" in text


def test_an_arm_without_a_figure_leaves_its_cell_empty():
    found = runs(VALUES)
    found = [own if own.arm == "first" else Run(**vars(own) | {"scores": ()}) for own in found]
    assert "| mean zero-shot top-1 | 0.300 ± 0.100 |  |\n" in report.table(STUDY, found)


def test_equal_results_are_equal_files(tmp_path):
    written = [
        report.write_page(
            "objectives",
            report.table(STUDY, runs(VALUES)),
            report.figure(STUDY, runs(VALUES)),
            tmp_path / name,
        )
        for name in "ab"
    ]
    for one, other in zip(*written, strict=True):
        assert one.read_bytes() == other.read_bytes()
    assert [path.name for path in written[0]] == [f"objectives.{k}" for k in ("md", "png", "svg")]
    assert written[0][1].read_bytes().startswith(b"\x89PNG")


def test_an_arm_that_diverged_says_so():
    found = runs(VALUES)
    found[-1] = dataclasses.replace(found[-1], scores=())
    text = report.table(STUDY, found)
    assert "\nsecond: 1 of 2 runs diverged and have no scores.\n" in text
    assert text.endswith("| mean zero-shot top-1 | +0.100 |\n"), "of seed 0, which both have"


def test_seeds_are_compared_with_themselves():
    rows = {"first": [(0.1, 0.1), (0.2, 0.2), (0.3, 0.3)], "second": [(0.5, 0.5)] * 3}
    found = runs(rows)
    found[0] = dataclasses.replace(found[0], scores=())
    found[-1] = dataclasses.replace(found[-1], scores=())
    assert report.table(STUDY, found).endswith("| mean zero-shot top-1 | +0.300 |\n"), "of seed 1"
