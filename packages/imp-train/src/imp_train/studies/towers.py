"""Figure 6: one tower for all modalities against a tower for text of its own."""

import dataclasses

from imp_model.config import size
from imp_train.studies.corpora import Corpora, classify, contrast
from imp_train.studies.scale import Scale
from imp_train.studies.study import Study


def towers(corpora: Corpora, scale: Scale) -> Study:
    """Two towers share the layers among them ("split"), or have as many each ("full")."""
    seen = corpora.labelled()
    tasks = [make(own, scale.batch) for own in seen for make in (contrast, classify)]
    base = size(scale.model)
    layers = max(4, base.num_layers // 4 * 4)
    dense = dataclasses.replace(base, num_dense_layers=layers, num_moe_layers=0, num_experts=1)
    moe = dataclasses.replace(
        base, num_dense_layers=layers // 2, num_moe_layers=layers // 2, num_experts=4
    )
    models = {
        "one, MoE": moe,
        "one, dense": dense,
        "two, split": dataclasses.replace(dense, towers="two_split"),
        "two, full": dataclasses.replace(dense, towers="two_full"),
    }
    return Study(
        name="towers",
        source="Figure 6",
        claim="one tower with experts beats two dense towers of equal compute",
        arms={name: corpora.experiment(scale, tasks, model=own) for name, own in models.items()},
        benchmarks=tuple(own.benchmark for own in seen),
    )
