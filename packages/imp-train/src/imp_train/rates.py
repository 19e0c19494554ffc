"""Rates: what a run does a second, and whoever can tell."""

import dataclasses
from typing import Protocol, runtime_checkable

from imp_train.columns import short


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rates:
    """A second's worth, smoothed; `mfu` is None where the devices' peak is not known."""

    steps: float
    examples: float
    tokens: float
    mfu: float | None

    def named(self) -> dict[str, float]:
        """By name, what is known."""
        return {name: rate for name, rate in dataclasses.asdict(self).items() if rate is not None}

    def __str__(self) -> str:
        words = f"{short(self.examples)} examples/s, {short(self.tokens)} tokens/s"
        return words if self.mfu is None else f"{words}, MFU {self.mfu:.1%}"


@runtime_checkable
class Rated(Protocol):
    def read(self, now: float) -> Rates | None:
        """Since the last reading, smoothed; None before anything was done."""
        ...
