"""Table 2: contrast and classification by turns, summed, or one of them alone."""

from collections.abc import Callable, Sequence

from imp_model.config import size
from imp_train.config import Experiment, OptimizerConfig
from imp_train.sampler import Stratified
from imp_train.studies.corpora import Corpora, both, classify, contrast
from imp_train.studies.study import Scale, Study
from imp_train.tasks import Task


def objectives(corpora: Corpora, scale: Scale) -> Study:
    """Every labelled dataset and modality, alike in weight; each arm as many steps and batches."""
    seen = corpora.labelled()
    model = corpora.model(size(scale.model))

    def arm(*tasks: Sequence[Task]) -> Callable[[int], Experiment]:
        return lambda seed: Experiment(
            name="objectives",
            model=model,
            tasks=tuple(task for own in tasks for task in own),
            steps=scale.steps,
            optimizer=OptimizerConfig(warmup_steps=scale.steps // 10, b2=0.99),
            sampler=Stratified(),
            views=corpora.views(seen),
            tokenizer=corpora.tokenizer,
            seed=seed,
        )

    nce = [contrast(own, scale.batch) for own in seen]
    sce = [classify(own, scale.batch) for own in seen]
    summed = [both(own, scale.batch) for own in seen]
    return Study(
        name="objectives",
        source="Table 2",
        claim="alternating beats the sum, and both beat contrast or classification alone",
        arms={
            "alternating": arm(nce, sce),
            "sum": arm(summed),
            "nce": arm(nce),
            "softmax": arm(sce),
        },
        benchmarks=tuple(own.benchmark for own in seen),
    )
