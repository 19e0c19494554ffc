"""Who chooses, experts or tokens, and among what? The card's second open question."""

import dataclasses
from typing import Any

from imp_model.config import size
from imp_train.studies.corpora import Corpora, classify, contrast
from imp_train.studies.scale import Scale
from imp_train.studies.study import Study

_ROUTERS: dict[str, dict[str, Any]] = {
    "experts, per example": {},
    "experts, per batch": {"routing_group": "batch"},
    "tokens, top 1": {"router": "tokens_choose", "capacity_factor": 1.05},
    "tokens, top 2": {"router": "tokens_choose", "capacity_factor": 1.05, "top_k": 2},
}


def routing(corpora: Corpora, scale: Scale) -> Study:
    """Top 2 spends twice the FLOPs in its experts. Routed per batch, an example is scored alone."""
    seen = corpora.labelled()
    tasks = [make(own, scale.batch) for own in seen for make in (contrast, classify)]
    base = size(scale.model)
    return Study(
        name="routing",
        source="open question 2",
        claim="experts-choose needs no auxiliary loss and balances by itself",
        arms={
            name: corpora.experiment(scale, tasks, model=dataclasses.replace(base, **own))
            for name, own in _ROUTERS.items()
        },
        benchmarks=tuple(own.benchmark for own in seen),
    )
