"""Inputs: the schedule of tasks, and their batches made ahead of the device."""

import dataclasses
from collections.abc import Iterator, Mapping

from imp_data.batch import Batch
from imp_data.datasets import Dataset
from imp_data.loader import Batches, Loader
from imp_data.mixture import Mixture
from imp_data.tokenizer import Tokenizer
from imp_train.config import Experiment
from imp_train.objectives import labels_needed
from imp_train.schedule import Schedule
from imp_train.tasks import Task, Variant


@dataclasses.dataclass(frozen=True)
class Choice:
    """What one step trains; `key` names its loader's position."""

    task: Task
    variant: Variant

    @property
    def key(self) -> str:
        return f"{self.task.name}/{self.variant.name}"


def schedule_of(experiment: Experiment, datasets: Mapping[str, Dataset]) -> Schedule[Choice]:
    """Tasks by weight, the variants of a task uniformly."""
    choices, weights = [], []
    for task in experiment.tasks:
        weight = task.weight or float(datasets[task.name].num_examples[task.split])
        for variant in task.variants:
            choices.append(Choice(task, variant))
            weights.append(weight / len(task.variants))
    return Schedule(
        choices,
        weights,
        experiment.sampler,
        seed=experiment.seed,
        per_step=experiment.optimizer.accumulate if experiment.mixed else 1,
    )


def load_datasets(experiment: Experiment) -> dict[str, Dataset]:
    """Each task's dataset. Raises ValueError if it lacks what the objective needs."""
    datasets = {}
    for task in experiment.tasks:
        dataset = Dataset.load(task.dataset)
        dataset.check_split(task.split)
        _check_modalities(task, dataset)
        needed = labels_needed(task.objective)
        if needed and not dataset.label_names:
            raise ValueError(
                f"task {task.name!r} needs labels; dataset {dataset.name} ({task.dataset}) has none"
            )
        if (
            needed == "one"
            and dataset.num_single_label(task.split) < dataset.num_examples[task.split]
        ):
            raise ValueError(
                f"task {task.name!r} needs one label on every example; some of dataset "
                f"{dataset.name} ({task.dataset}) have none or several: give them one, leave "
                "them out, or train BCE on them"
            )
        datasets[task.name] = dataset
    return datasets


def _check_modalities(task: Task, dataset: Dataset) -> None:
    """Words are the loader's to check: a label's name may stand in for a caption."""
    stored = {view.modality for view in dataset.views}
    for modality in task.objective.modalities:
        if modality != "text" and modality not in stored:
            raise ValueError(
                f"task {task.name!r} sees {modality}; dataset {dataset.name} ({task.dataset}) has "
                f"{' and '.join(sorted(stored))} alone: name another, or build it with --views "
                f"{modality}-…"
            )


class Inputs:
    """Batches in the schedule's order from any step; `positions` say where each loader stands."""

    def __init__(
        self,
        experiment: Experiment,
        datasets: Mapping[str, Dataset],
        *,
        num_workers: int = 0,
        shards: tuple[int, ...] = (0,),
        num_shards: int = 1,
    ) -> None:
        """`num_workers` processes make the batches of all tasks; with 0 a thread does. `shards` of
        each batch's `num_shards` parts are this host's."""
        self.schedule = schedule_of(experiment, datasets)
        self._prefetch = 2 if num_workers else 4
        ahead = self._prefetch * max(1, num_workers) + experiment.log_every
        every = getattr(experiment.sampler, "every", None)
        if every is not None and every < ahead:
            raise ValueError(
                f"the sampler decides every {every} steps, but losses are read every "
                f"{experiment.log_every} and batches made ahead: let it decide every {ahead} or "
                "more"
            )
        self._steps = experiment.steps
        self._accumulate = experiment.optimizer.accumulate
        self._num_workers = num_workers
        tokenizer = _load_tokenizer(experiment)
        self._loaders: dict[str, Loader] = {}
        for index, choice in enumerate(self.schedule.choices):
            objective = choice.task.objective
            self._loaders[choice.key] = Loader(
                datasets[choice.task.name],
                split=choice.task.split,
                views=choice.variant.views,
                batch_size=choice.variant.batch_size,
                seed=experiment.seed * 1000 + index,
                tokenizer=tokenizer,
                augment=choice.task.augment,
                texts=getattr(objective, "texts", "caption"),
                prompts=getattr(objective, "prompts", ()),
                labels=objective.labels_as,
                shards=shards,
                num_shards=num_shards,
            )

    def batches(self, start: int, positions: Mapping[str, int]) -> "ScheduledBatches":
        """Steps start, start + 1, …, made ahead."""
        batches = Mixture(self._loaders).batches(
            self._jobs(start, positions),
            num_workers=self._num_workers,
            prefetch=self._prefetch,
        )
        choices = (self.schedule.of_step(step) for step in range(start, self._steps))
        return ScheduledBatches(choices, batches, self._accumulate)

    def _jobs(self, start: int, positions: Mapping[str, int]) -> Iterator[tuple[str, int]]:
        ahead = dict(positions)
        for step in range(start, self._steps):
            choices = self.schedule.of_step(step)
            for choice in choices * (self._accumulate // len(choices)):
                yield choice.key, ahead.get(choice.key, 0)
                ahead[choice.key] = ahead.get(choice.key, 0) + 1


class ScheduledBatches:
    """Iterates over each step's choices and its batches, `count` of them, until `close`: all of
    one choice, or each of its own."""

    def __init__(self, choices: Iterator[list[Choice]], batches: Batches, count: int) -> None:
        self._choices = choices
        self._batches = batches
        self._count = count

    def __iter__(self) -> Iterator[tuple[list[Choice], list[Batch]]]:
        return self

    def __next__(self) -> tuple[list[Choice], list[Batch]]:
        batches = [next(self._batches) for _ in range(self._count)]
        return next(self._choices), batches

    def close(self) -> None:
        """Ends the iteration, its thread and its processes. May be called twice."""
        self._batches.close()


def _load_tokenizer(experiment: Experiment) -> Tokenizer | None:
    """Raises ValueError where an id would lie outside the model's table."""
    if experiment.tokenizer is None:
        return None
    tokenizer = Tokenizer.load(experiment.tokenizer)
    if tokenizer.vocab_size > experiment.model.vocab_size:
        raise ValueError(
            f"the model's vocab_size {experiment.model.vocab_size} is below the "
            f"{tokenizer.vocab_size} pieces of {experiment.tokenizer}; raise it"
        )
    return tokenizer
