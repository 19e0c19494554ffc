"""Studies: the paper's tables and figures, each on anyone's data by one command."""

from collections.abc import Sequence
from pathlib import Path

from imp_train.studies.audio import audio
from imp_train.studies.balance import balance
from imp_train.studies.corpora import Corpora
from imp_train.studies.experts import experts
from imp_train.studies.mixtures import mixtures
from imp_train.studies.objectives import objectives
from imp_train.studies.prompts import prompts
from imp_train.studies.qk_norm import qk_norm
from imp_train.studies.resolutions import resolutions
from imp_train.studies.routing import routing
from imp_train.studies.scale import SCALES
from imp_train.studies.schedules import schedules
from imp_train.studies.study import Maker, Study
from imp_train.studies.towers import towers

STUDIES: dict[str, Maker] = {
    "objectives": objectives,
    "mixtures": mixtures,
    "resolutions": resolutions,
    "experts": experts,
    "audio": audio,
    "towers": towers,
    "routing": routing,
    "balance": balance,
    "schedules": schedules,
    "qk_norm": qk_norm,
    "prompts": prompts,
}


def make(name: str, places: Sequence[Path], *, scale: str) -> Study:
    """Raises ValueError for an unknown study or scale, and what `Corpora.find` does."""
    if name not in STUDIES:
        raise ValueError(f"study {name!r} is unknown; one of {', '.join(STUDIES)}, convergence")
    if scale not in SCALES:
        raise ValueError(f"scale {scale!r} is unknown; one of {', '.join(SCALES)}")
    return STUDIES[name](Corpora.find(places), SCALES[scale])
