"""Which task next? The card's third open question, with every sampler there is."""

from imp_train.adaptive import Adaptive, ByProgress, ByReward
from imp_train.sampler import Interval, Multinomial, Sampler, Uniform
from imp_train.studies.corpora import Corpora, classify, contrast
from imp_train.studies.scale import Scale
from imp_train.studies.study import Study


def schedules(corpora: Corpora, scale: Scale) -> Study:
    """Tasks weigh as many examples as their datasets hold, as in the paper."""
    seen = corpora.labelled()
    tasks = [
        make(own, scale.batch, weight=float(own.dataset.num_examples["train"]))
        for own in seen
        for make in (contrast, classify)
    ]
    samplers: dict[str, Sampler | Adaptive] = {
        "proportional": Multinomial(),
        "uniform": Uniform(),
        "temperature 2": Multinomial(temperature=2.0),
        "interval": Interval(),
        "by progress": ByProgress(every=50, floor=0.2),
        "by reward": ByReward(every=50, floor=0.2),
    }
    return Study(
        name="schedules",
        source="open question 3",
        claim="proportional to the number of examples is the paper's; adaptive schedules are left "
        "open",
        arms={
            name: corpora.experiment(scale, tasks, sampler=sampler)
            for name, sampler in samplers.items()
        },
        benchmarks=tuple(own.benchmark for own in seen),
    )
