"""Figure 4: a dense encoder, and 4 and 16 experts of the same FLOPs a token."""

import dataclasses

from imp_model.config import ModelConfig, size
from imp_train.studies.corpora import Corpora, classify, contrast
from imp_train.studies.scale import Scale
from imp_train.studies.study import Study


def experts(corpora: Corpora, scale: Scale) -> Study:
    """The last half of the layers have experts, or none has."""
    seen = corpora.labelled()
    tasks = [make(own, scale.batch) for own in seen for make in (contrast, classify)]
    base = size(scale.model)
    layers = max(4, base.num_layers // 2 * 2)
    dense = dataclasses.replace(base, num_dense_layers=layers, num_moe_layers=0, num_experts=1)

    def moe(count: int) -> ModelConfig:
        return dataclasses.replace(
            base, num_dense_layers=layers // 2, num_moe_layers=layers // 2, num_experts=count
        )

    models = {"dense": dense, "4 experts": moe(4), "16 experts": moe(16)}
    return Study(
        name="experts",
        source="Figure 4",
        claim="4 experts gain much over a dense encoder, 16 some more",
        arms={name: corpora.experiment(scale, tasks, model=own) for name, own in models.items()},
        benchmarks=tuple(own.benchmark for own in seen),
    )
