"""Towers (IMP Figure 6): one encoder for all modalities, or one for each group of them.

Two towers tell text from what is perceived, as CLIP does; three tell sound from sight as well.
`_split` shares the layers out, so that all towers together have one tower's parameters; `_full`
gives each a whole encoder, so that an example costs what it costs with one.
"""

from collections.abc import Iterable

from imp_model.config import EMBEDDER_OF

ENCODER = "encoder"


def tower_of(towers: str, modality: str) -> str:
    """The name of the part that encodes `modality`."""
    embedder = EMBEDDER_OF[modality]
    if towers == "one":
        return ENCODER
    if towers.startswith("two"):
        return f"{ENCODER}/text" if embedder == "text" else f"{ENCODER}/perception"
    return f"{ENCODER}/{embedder}"


def tower_parts(towers: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(tower_of(towers, modality) for modality in EMBEDDER_OF))


def through_towers(towers: str, parts: Iterable[str], modalities: Iterable[str]) -> tuple[str, ...]:
    """`parts` with "encoder" as the towers that `modalities` pass, sorted.

    An objective knows its modalities and no model; what it calls the encoder may be several parts.
    """
    names = set(parts)
    if ENCODER in names:
        names -= {ENCODER}
        names |= {tower_of(towers, modality) for modality in modalities}
    return tuple(sorted(names))
