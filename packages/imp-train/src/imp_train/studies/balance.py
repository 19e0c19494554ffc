"""How much contrast, how much classification? The card's first open question."""

from imp_train.studies.corpora import Corpora, classify, contrast
from imp_train.studies.scale import Scale
from imp_train.studies.study import Study

# Steps of contrast to steps of classification.
_RATIOS = ((1, 1), (1, 3), (3, 1), (9, 1))


def balance(corpora: Corpora, scale: Scale) -> Study:
    """Every labelled dataset and modality, alike in weight but for the objective."""
    seen = corpora.labelled()
    return Study(
        name="balance",
        source="open question 1",
        claim="the ratio of contrastive to classification tasks is left open",
        arms={
            f"{a}:{b}": corpora.experiment(
                scale,
                [
                    *(contrast(own, scale.batch, weight=float(a)) for own in seen),
                    *(classify(own, scale.batch, weight=float(b)) for own in seen),
                ],
            )
            for a, b in _RATIOS
        },
        benchmarks=tuple(own.benchmark for own in seen),
    )
