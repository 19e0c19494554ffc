"""Question: what one of the convergence study's three parts asks, and what its runs came to."""

import dataclasses
from collections.abc import Callable
from pathlib import Path


@dataclasses.dataclass(frozen=True, kw_only=True)
class Found:
    """What an arm came to at one setting with one seed; `value` is None where it got nowhere."""

    question: str
    arm: str
    setting: str
    seed: int
    value: float | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Question:
    """`measure(arm, setting, seed, workdir)` runs the AGD loop in `workdir`, or goes on there."""

    name: str
    asks: str
    value: str
    """What is measured, with its unit."""
    arms: tuple[str, ...]
    settings: tuple[str, ...]
    setting: str
    """What the settings are."""
    measure: Callable[[str, str, int, Path], float | None]
    log: bool = True
    """Whether a plot's axis is logarithmic."""
