"""Goodput: the share of a run's time that trains, among failures, saves and restarts.

Failures are a Poisson process. `expected` is Daly's closed form (Future Generation Computer Systems
22, 2006, eq. 13), `simulate` lives through it.
"""

import dataclasses
import math

import numpy as np


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    """Seconds: of useful work in all, mean time between failures, what a save costs, what passes
    from a failure until training goes on, and useful work between two saves."""

    work: float
    between_failures: float
    save: float
    restart: float
    interval: float

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            if (value := getattr(self, field.name)) <= 0:
                raise ValueError(f"{field.name.replace('_', ' ')} {value} s must be above 0")


def best_interval(between_failures: float, save: float) -> float:
    """Young's sqrt(2 d M) with Daly's terms of higher order; useful seconds between two saves."""
    if save >= 2 * between_failures:
        return between_failures
    share = save / (2 * between_failures)
    return math.sqrt(2 * save * between_failures) * (1 + math.sqrt(share) / 3 + share / 9) - save


def expected(run: Run) -> float:
    """Seconds that the run takes, on average."""
    mean = run.between_failures
    periods = run.work / run.interval
    each = mean * math.exp(run.restart / mean) * math.expm1((run.interval + run.save) / mean)
    return each * periods


def simulate(run: Run, *, runs: int, seed: int) -> np.ndarray:
    """float64 [runs]: seconds that each of so many runs took."""
    rng = np.random.default_rng(seed)
    periods = round(run.work / run.interval)
    return np.array([_one(run, periods, rng) for _ in range(runs)])


def _one(run: Run, periods: int, rng: np.random.Generator) -> float:
    """A failure takes what was done since the last save; one during a restart begins it anew."""
    elapsed, done = 0.0, 0
    length = run.interval + run.save
    while True:
        quiet = rng.exponential(run.between_failures)
        saved = int(quiet // length)
        if done + saved >= periods:
            return elapsed + (periods - done) * length
        done += saved
        elapsed += quiet
        while (quiet := rng.exponential(run.between_failures)) < run.restart:
            elapsed += quiet
        elapsed += run.restart
