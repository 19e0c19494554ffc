"""Writes show-NAME.txt: what `imp-train show NAME` prints. Run it after a change that is meant:

python -m imp_train.goldens.show
"""

from pathlib import Path

from imp_train.describe import describe, page
from imp_train.experiments import make, summary_of

NAMES = ("quickstart", "ablation-s", "imp-moe-l")


def golden(name: str) -> Path:
    return Path(__file__).with_name(f"show-{name}.txt")


def shown(name: str) -> str:
    """With no data there."""
    return page(describe(make(name, Path("data"))), summary_of(name)) + "\n"


if __name__ == "__main__":
    for name in NAMES:
        golden(name).write_text(shown(name))
