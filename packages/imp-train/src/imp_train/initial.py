"""Where a run begins: a model with the classifiers that its data asks for, and no moments yet."""

from imp_data.datasets import Dataset
from imp_model.model import Model
from imp_train import optimizer
from imp_train.config import Experiment
from imp_train.state import TrainState
from imp_train.tasks import Task
from imp_train.warm_start import started_from


def classifiers(experiment: Experiment, datasets: dict[str, Dataset]) -> dict[str, tuple[str, ...]]:
    """Label names by classifier, of the tasks that train one.

    Raises ValueError where tasks with different labels share a classifier.
    """
    owners: dict[str, Task] = {}
    for task in experiment.tasks:
        if (name := task.objective.classifier) is None:
            continue
        first = owners.setdefault(name, task)
        if datasets[first.name].label_names != datasets[task.name].label_names:
            raise ValueError(
                f"classifier {name!r} is shared by tasks {first.name!r} and {task.name!r}, whose "
                "datasets have different labels; name another"
            )
    return {name: datasets[task.name].label_names for name, task in owners.items()}


def initial_state(experiment: Experiment, labels: dict[str, tuple[str, ...]]) -> TrainState:
    model = Model.create(
        experiment.model,
        pairs=experiment.pairs,
        classifiers={name: len(classes) for name, classes in labels.items()},
        seed=experiment.seed,
    )
    if experiment.init_from is not None:
        model = started_from(experiment.init_from, model)
    parts = dict(model.parts)
    return TrainState(
        step=0, parts=parts, moments=optimizer.init(experiment.optimizer, parts), positions={}
    )
