"""Figure 5: what adding sound costs the other modalities, with a dense encoder and with experts."""

import dataclasses

from imp_model.config import size
from imp_train.studies.corpora import Corpora, classify, contrast
from imp_train.studies.scale import Scale
from imp_train.studies.study import Study


def audio(corpora: Corpora, scale: Scale) -> Study:
    """At equal steps, so that with sound a third or so of them are not spent on the others.

    Raises ValueError where the data is of sound alone, or has none.
    """
    seen = corpora.labelled()
    others = [own for own in seen if own.modality != "audio"]
    if not others or len(others) == len(seen):
        raise ValueError(
            "this study needs labelled sounds, and labelled images or videos beside them; there is "
            f"{', '.join(own.name for own in seen)}"
        )
    moe = size(scale.model)
    layers = moe.num_layers
    dense = dataclasses.replace(moe, num_dense_layers=layers, num_moe_layers=0, num_experts=1)
    tasks = {
        name: [make(own, scale.batch) for own in chosen for make in (contrast, classify)]
        for name, chosen in (("without", others), ("with", seen))
    }
    return Study(
        name="audio",
        source="Figure 5",
        claim="adding audio costs a dense encoder more than one with experts",
        arms={
            f"{kind}, {name} sound": corpora.experiment(scale, tasks[name], model=model)
            for kind, model in (("dense", dense), ("MoE", moe))
            for name in tasks
        },
        benchmarks=tuple(own.benchmark for own in others),
    )
