"""Table 2: contrast and classification by turns, summed, or one of them alone."""

from imp_train.studies.corpora import Corpora, both, classify, contrast
from imp_train.studies.scale import Scale
from imp_train.studies.study import Study


def objectives(corpora: Corpora, scale: Scale) -> Study:
    """Every labelled dataset and modality, alike in weight; each arm as many steps and batches."""
    seen = corpora.labelled()
    nce = [contrast(own, scale.batch) for own in seen]
    sce = [classify(own, scale.batch) for own in seen]
    summed = [both(own, scale.batch) for own in seen]
    return Study(
        name="objectives",
        source="Table 2",
        claim="alternating beats the sum, and both beat contrast or classification alone",
        arms={
            "alternating": corpora.experiment(scale, [*nce, *sce]),
            "sum": corpora.experiment(scale, summed),
            "nce": corpora.experiment(scale, nce),
            "softmax": corpora.experiment(scale, sce),
        },
        benchmarks=tuple(own.benchmark for own in seen),
    )
