"""docs/SCALE.md: the paper's numbers of examples and tokens, reckoned from what was measured."""

import dataclasses

from benchmarks import scale_data, scale_serving, scale_training
from benchmarks.scale_rows import page

_HEAD = """\
# Internet scale, on paper

    ./imp benchmark scale

prints this page. Nothing here was run at this size: each figure is a constant that we measured at
a small one, linked beside it, times a factor that is written out. What is no measurement of ours is
in *italics*, and a power other than 1 is said. CPU seconds are those of the machine on the linked
page. How a mesh is laid out, and what a step needs on each chip, is another page:
[SCALING.md](SCALING.md).
"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scale:
    """Reckons what 11 G examples and 5 T tokens would take, and simulates a run's failures."""

    runs: int = 2_000
    """Simulated for each line of the goodput table."""
    seed: int = 0

    def run(self) -> None:
        print(self.text(), end="")

    def text(self) -> str:
        sections = [
            *scale_data.sections(),
            *scale_training.sections(runs=self.runs, seed=self.seed),
            *scale_serving.sections(),
        ]
        return page(_HEAD, sections)
