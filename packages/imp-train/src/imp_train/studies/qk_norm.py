"""QK-LayerNorm or not, at the usual learning rate and at ten times that."""

import dataclasses

from imp_model.config import size
from imp_train.studies.corpora import Corpora, classify, contrast
from imp_train.studies.scale import Scale
from imp_train.studies.study import Study

_RATES = (1e-3, 1e-2)


def qk_norm(corpora: Corpora, scale: Scale) -> Study:
    """In bfloat16, as the paper trains: what overflows there is what the norm is for."""
    seen = corpora.labelled()
    tasks = [make(own, scale.batch) for own in seen for make in (contrast, classify)]
    model = dataclasses.replace(size(scale.model), dtype="bfloat16")
    return Study(
        name="qk_norm",
        source="section 3.3",
        claim="QK-LayerNorm is needed for experts under contrastive losses to train stably",
        arms={
            f"{word}, {rate:g}": corpora.experiment(
                scale, tasks, model=dataclasses.replace(model, qk_norm=norm), peak_rate=rate
            )
            for rate in _RATES
            for word, norm in (("with", True), ("without", False))
        },
        benchmarks=tuple(own.benchmark for own in seen),
    )
