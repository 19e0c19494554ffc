"""Figure 2: datasets added one by one."""

from imp_train.studies.corpora import Corpora, caption, classify, contrast
from imp_train.studies.scale import Scale
from imp_train.studies.study import Study


def mixtures(corpora: Corpora, scale: Scale) -> Study:
    """Labelled datasets first, each by contrast and classification, then captioned ones; all at
    equal steps, so that each arm trains less on what the one before it has.

    Raises ValueError for a single dataset.
    """
    labelled, captioned = corpora.labelled(), corpora.captioned()
    names = list(dict.fromkeys(own.dataset.name for own in [*labelled, *captioned]))
    if len(names) < 2:
        raise ValueError(f"this study adds datasets to {names[0]}; name others beside it: --data")
    tasks = {
        name: [
            *(
                make(own, scale.batch)
                for own in labelled
                if own.dataset.name == name
                for make in (contrast, classify)
            ),
            *(caption(own, scale.batch) for own in captioned if own.dataset.name == name),
        ]
        for name in names
    }
    first = [own for own in labelled if own.dataset.name == names[0]]
    return Study(
        name="mixtures",
        source="Figure 2",
        claim="every dataset and objective that is added helps",
        arms={
            names[0] if count == 1 else f"+ {names[count - 1]}": corpora.experiment(
                scale, [task for name in names[:count] for task in tasks[name]]
            )
            for count in range(1, len(names) + 1)
        },
        benchmarks=tuple(own.benchmark for own in first),
    )
