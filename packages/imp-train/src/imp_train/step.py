"""One AGD step: the parts its task uses in, the same parts updated out, nothing else touched."""

import functools
from typing import Any

import jax
import numpy as np
from jax.stages import Wrapped
from jaxtyping import Array

from imp_data.batch import Batch
from imp_model.config import ModelConfig
from imp_model.model import Model
from imp_train import optimizer
from imp_train.config import Experiment
from imp_train.optimizer import Moments, Parts
from imp_train.tasks import Task, Variant


def signature(config: ModelConfig, task: Task, variant: Variant) -> tuple[Any, ...]:
    """What a compiled step depends on: shapes, objective, DropToken; never the task's name."""
    views = tuple((v.modality, v.shape, v.dtype) for v in variant.views)
    drop = tuple(sorted(variant.drop.items()))
    return (
        config,
        type(task.objective).__name__,
        task.objective.parts,
        views,
        variant.batch_size,
        drop,
    )


def make_step(experiment: Experiment, task: Task, variant: Variant) -> Wrapped:
    """(parts, moments, inputs, groups, step, key) -> (parts, moments, metrics), donated, jitted."""
    config = experiment.model

    def run(
        parts: Parts,
        moments: Moments,
        inputs: dict[str, Array],
        groups: Array,
        step: Array,
        key: Array,
    ) -> tuple[Parts, Moments, dict[str, Array]]:
        def loss_of(parts: Parts) -> tuple[Array, dict[str, Array]]:
            return task.objective.loss(Model(config, parts), inputs, groups, variant.drop, key)

        (loss, metrics), grads = jax.value_and_grad(loss_of, has_aux=True)(parts)
        rate = optimizer.learning_rate(experiment.optimizer, step, experiment.steps)
        parts, moments, extra = optimizer.update(
            experiment.optimizer, parts, moments, grads, rate, loss
        )
        return parts, moments, metrics | extra | {"loss": loss}

    return functools.partial(jax.jit, donate_argnums=(0, 1))(run)


def groups_of(task: Task, batch: Batch) -> np.ndarray:
    """int32 [b]: labels; else a number for each distinct text; else each example's own place.

    Examples of one number can't be told apart by their target, so NCE takes none for a negative
    of another.
    """
    if task.objective.labelled:
        assert batch.labels is not None, f"{task.name} needs labels"
        return batch.labels
    if "text" in batch.inputs:
        return np.unique(batch.inputs["text"], axis=0, return_inverse=True)[1].astype(np.int32)
    return np.unique(batch.index, return_inverse=True)[1].astype(np.int32)
