"""The measured constants of docs/SCALE.md, read where the other pages print them."""

import dataclasses
import re
from pathlib import Path

DOCS = Path(__file__).resolve().parents[2] / "docs"


@dataclasses.dataclass(frozen=True)
class Measured:
    """A number of docs/`page`, below the heading `section`: the group of `pattern`."""

    page: str
    section: str
    pattern: str

    @property
    def value(self) -> float:
        """Raises ValueError where the page no longer prints it once."""
        text = (DOCS / self.page).read_text()
        below = re.split(r"^#+ ", text, flags=re.M)
        own = [part for part in below if part.startswith(f"{self.section}\n")]
        found = re.findall(self.pattern, own[0]) if own else []
        if len(found) != 1:
            raise ValueError(
                f"docs/{self.page}, {self.section!r}: {self.pattern!r} is found {len(found)} times"
            )
        return float(found[0].replace(",", ""))

    @property
    def link(self) -> str:
        return f"[{self.section}]({self.page}#{self.section.lower().replace(' ', '-')})"


def _benchmark(section: str, pattern: str) -> Measured:
    return Measured("BENCHMARKS.md", section, pattern)


def _constant(name: str) -> Measured:
    return _benchmark("Constants of scale", rf"\| {name} \| ([\d,.]+) \|")


def _plan(pattern: str) -> Measured:
    return Measured("SCALING.md", "Before you pay for it", pattern)


_STEP = r"{}(?: +\S+ GiB){{3}}  yes .*  >= ([\d.]+) s"
_MILLION = r"\| lancedb, IVF, RaBitQ \| 252 \| {} \| 1.000 \| 87 \| {} \| {} \|"
_ANY = r"[\d.,]+"

# Building and loading.
BUILD_MS = _benchmark("Building", r"\| 50000 \| .* \| ([\d.]+) \|")
LOADED = _benchmark("Loading", r"\| loader \| ([\d,]+) \|")
FIRST_BATCH_S = _benchmark("Loading", r"\| 1,000,000 \| ([\d.]+) \|")
PLAN_US = _constant("an input in the plan: the driver's CPU us")
PLAN_BYTES = _constant("its memory in the driver, bytes")
FROZEN_BYTES = _constant("its line of plan.json, bytes")
SHARD_BYTES = _constant("a shard in the manifest, bytes")
SHARD_MEMORY = _constant("its memory in whoever reads the dataset, bytes")
SHARD_US = _constant("reading it, CPU us")
POSITION_NS = _constant("a position of a shuffle of 11,000,000,000, CPU ns")
# Training.
STEP_S = _plan(_STEP.format("webli/image-text/base"))
DOUBLE_S = _plan(_STEP.format("webli/image-text/double"))
DROP_S = _plan(_STEP.format("webli/image-text/drop"))
PARAMETERS_G = _plan(r"imp-moe-l, ([\d.]+) G parameters")
CHIPS = _plan(r"v4:8x8x4: (\d+) x TPU v4")
STANDS_MB = _constant("saving it: training stands still, MB/s")
SAVED_MB = _constant("until it is whole, MB/s")
RESTORED_MB = _constant("restoring it, MB/s")
START_S = _benchmark("Alternating", r"([\d.]+) with those of an earlier run")
# Serving and search.
IMAGES_S = _benchmark("Serving", r"\| image, stream \| 18.60 \| [\d.]+ \| ([\d.]+) \|")
TEXTS_S = _benchmark("Serving", r"\| text, stream \| 15.58 \| [\d.]+ \| ([\d.]+) \|")
CALL_MS = _benchmark("Serving", r"\| image, stream \| (2.\d+) \|")
INDEX_CPU_S = _benchmark("Search", _MILLION.format(f"({_ANY})", _ANY, _ANY))
QUERY_MS = _benchmark("Search", _MILLION.format(_ANY, f"({_ANY})", _ANY))
INDEX_MIB = _benchmark("Search", _MILLION.format(_ANY, _ANY, f"({_ANY})"))
SMALL_QUERY_MS = _benchmark("Search", r"\| lancedb, IVF, RaBitQ \| 8 \| .* \| ([\d.]+) \| \d+ \|")
