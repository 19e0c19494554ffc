"""docs/SCALE.md is what the script prints, and the simulated runs end as the formula says."""

import numpy as np
import pytest

from benchmarks import goodput
from benchmarks.goodput import Run
from benchmarks.scale import Scale
from benchmarks.scale_measured import DOCS, Measured
from benchmarks.scale_rows import number, size, span


def test_the_page_is_what_the_command_prints() -> None:
    """`./imp benchmark scale > docs/SCALE.md` mends it, as after a change of what it multiplies."""
    assert (DOCS / "SCALE.md").read_text() == Scale().text()


@pytest.mark.parametrize("mean", [500.0, 3_000.0, 50_000.0])
def test_simulated_runs_take_as_long_as_the_closed_form_says(mean: float) -> None:
    run = Run(work=100_000, between_failures=mean, save=20, restart=90, interval=200)
    found = goodput.simulate(run, runs=1_000, seed=1)
    error = found.std(ddof=1) / np.sqrt(len(found))
    # Four standard errors: by chance once in 16,000 seeds, and the seed is fixed.
    assert abs(found.mean() - goodput.expected(run)) < 4 * error
    assert found.min() >= run.work / run.interval * (run.interval + run.save)


@pytest.mark.parametrize(("mean", "save"), [(600, 5), (5_000, 60), (700_000, 2)])
def test_the_best_interval_is_best(mean: float, save: float) -> None:
    best = goodput.best_interval(mean, save)

    def takes(interval: float) -> float:
        return goodput.expected(
            Run(work=1e6, between_failures=mean, save=save, restart=60, interval=interval)
        )

    assert takes(best) < min(takes(0.8 * best), takes(1.25 * best))


def test_what_makes_no_run_is_refused() -> None:
    with pytest.raises(ValueError, match="between failures 0 s must be above 0"):
        Run(work=1, between_failures=0, save=1, restart=1, interval=1)


def test_a_constant_that_its_page_does_not_print_once_is_refused() -> None:
    with pytest.raises(ValueError, match=r"'Building'.* is found 0 times"):
        _ = Measured("BENCHMARKS.md", "Building", "nowhere").value
    with pytest.raises(ValueError, match=r"'Bilding'.* is found 0 times"):
        _ = Measured("BENCHMARKS.md", "Bilding", r"\d").value


def test_figures_are_written_in_three_digits() -> None:
    assert [number(v) for v in (0.12345, 9.876, 123.4, 54_162.0)] == [
        "0.123",
        "9.88",
        "123",
        "54,200",
    ]
    assert (size(2.16e15), size(999), span(90), span(7_200)) == ("2.16 PB", "999 B", "90 s", "2 h")
