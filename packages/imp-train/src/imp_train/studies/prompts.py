"""Class names in prompts: while training, when scoring, or never."""

from imp_train.studies.corpora import TEMPLATES, Corpora, contrast
from imp_train.studies.scale import Scale
from imp_train.studies.study import Study


def prompts(corpora: Corpora, scale: Scale) -> Study:
    """Label-based contrast alone. Each arm is scored with the prompts of training, and by the bare
    names: of the second arm the former is prompts at evaluation only, the latter none at all."""
    seen = corpora.labelled()
    bare = [contrast(own, scale.batch, prompts=("{}",)) for own in seen]
    return Study(
        name="prompts",
        source="section 3.2",
        claim="prompts in pretraining, and not at evaluation alone, help label-based contrast",
        arms={
            "in training": corpora.experiment(scale, [contrast(own, scale.batch) for own in seen]),
            "not in training": corpora.experiment(scale, bare),
        },
        benchmarks=(
            *(f"{own.benchmark},prompts={TEMPLATES[own.modality]}" for own in seen),
            *(f"bare-{own.benchmark},prompts=name" for own in seen),
        ),
        tasks=("zero-shot",),
    )
