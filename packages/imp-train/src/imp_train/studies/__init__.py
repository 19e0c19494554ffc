"""Studies: the paper's tables and figures, each on anyone's data by one command."""

from collections.abc import Sequence
from pathlib import Path

from imp_train.studies.corpora import Corpora
from imp_train.studies.objectives import objectives
from imp_train.studies.study import SCALES, Maker, Study

STUDIES: dict[str, Maker] = {
    "objectives": objectives,
}


def make(name: str, places: Sequence[Path], *, scale: str) -> Study:
    """Raises ValueError for an unknown study or scale, and what `Corpora.find` does."""
    if name not in STUDIES:
        raise ValueError(f"study {name!r} is unknown; one of {', '.join(STUDIES)}")
    if scale not in SCALES:
        raise ValueError(f"scale {scale!r} is unknown; one of {', '.join(SCALES)}")
    return STUDIES[name](Corpora.find(places), SCALES[scale])
