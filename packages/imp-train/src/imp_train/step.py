"""One AGD step: the parts its task uses in, the same parts updated out, nothing else touched."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import jax
import numpy as np
from jaxtyping import Array, Key, UInt32

from imp_data import randomness
from imp_data.batch import Batch
from imp_model import sharding
from imp_model.config import ModelConfig
from imp_model.model import Model, classifier_part
from imp_model.router_losses import auxiliary_loss
from imp_model.towers import through_towers
from imp_train import optimizer
from imp_train.config import Experiment
from imp_train.objectives import Sum, TargetKind
from imp_train.optimizer import Parts
from imp_train.placement import Placement
from imp_train.state import TrainState
from imp_train.tasks import Task, Variant

# A compiled program, or `jax.jit`'s.
Gradients: TypeAlias = Callable[..., tuple[Parts, tuple[Array, Array], dict[str, Array]]]


def signature(config: ModelConfig, task: Task, variant: Variant) -> tuple[Any, ...]:
    """What a compiled step depends on: shapes, objective, DropToken; never the task's name."""
    views = tuple((v.modality, v.shape, v.dtype) for v in variant.views)
    drop = tuple(sorted(variant.drop.items()))
    terms = task.objective.terms if isinstance(task.objective, Sum) else (task.objective,)
    return (
        config,
        tuple((type(term).__name__, term.modalities, term.parts) for term in terms),
        views,
        variant.batch_size,
        drop,
    )


def parts_of(config: ModelConfig, task: Task) -> tuple[str, ...]:
    """The names of the parts that a step of `task` reads and moves, sorted."""
    return through_towers(config.towers, task.objective.parts, task.objective.modalities)


def make_gradients(experiment: Experiment, task: Task, variant: Variant) -> jax.stages.Wrapped:
    """(parts, inputs, targets, draw) -> (gradients of the parts, controls, metrics), jitted.

    `draw` is `key_of`'s; `controls` are what `optimizer.update` needs: the clipping factor, and
    whether all is finite.
    """
    config = experiment.model

    def run(
        parts: Parts, inputs: dict[str, Array], targets: dict[str, Array], draw: Array
    ) -> tuple[Parts, tuple[Array, Array], dict[str, Array]]:
        key = key_of(draw)

        def loss_of(parts: Parts) -> tuple[Array, dict[str, Array]]:
            model = Model(config, parts)
            ordered = {modality: inputs[modality] for modality in task.objective.modalities}
            pooled, routers = model.encode(ordered, drop=variant.drop, key=key)
            loss, metrics = task.objective.loss(model, pooled, targets)
            return loss + auxiliary_loss(routers), routers | metrics

        (loss, metrics), grads = jax.value_and_grad(loss_of, has_aux=True)(parts)
        norm, factor, finite = optimizer.clipped_norm(experiment.optimizer, grads, loss)
        metrics |= {"loss": loss, "grad_norm": norm, "skipped": ~finite}
        return sharding.as_parameters(grads), (factor, finite), sharding.whole(metrics)

    return jax.jit(run)


def key_of(draw: UInt32[Array, "3"]) -> Key[Array, ""]:
    """The random key of a batch: the run's key data, and the batch's number in the run."""
    return jax.random.fold_in(jax.random.wrap_key_data(draw[:2]), draw[2])


def take_step(
    experiment: Experiment,
    gradients: Gradients,
    state: TrainState,
    task: Task,
    batches: Sequence[Batch],
    placement: Placement,
) -> dict[str, Any]:
    """One update of `state`, in place, from one task alone; returns its metrics on the device.

    Parts that the task does not use, and their moments, are neither read nor written. Of several
    batches the gradients and the loss are averaged, and the other metrics are the last one's.
    """
    config = experiment.optimizer
    drawn = [(gradients, task, batch) for batch in batches]
    grads, told = _gradients_of(experiment, state, drawn, placement)
    controls, metrics = told[-1]
    if len(told) > 1:
        losses = [own["loss"] for _, own in told]
        norm, controls = optimizer.accumulated(config, grads, losses)
        metrics = metrics | {"grad_norm": norm, "skipped": ~controls[1], "loss": _mean(losses)}
    return metrics | {"rate": _move(experiment, state, grads, controls)}


def take_mixed_step(
    experiment: Experiment,
    gradients: Sequence[Gradients],
    state: TrainState,
    tasks: Sequence[Task],
    batches: Sequence[Batch],
    placement: Placement,
) -> list[dict[str, Any]]:
    """One update from a batch of each task, the mean of their gradients (IMP section 3.1's mixed
    mini-batches): every part that some task uses moves. Each batch has metrics of its own."""
    drawn = list(zip(gradients, tasks, batches, strict=True))
    grads, told = _gradients_of(experiment, state, drawn, placement)
    losses = [metrics["loss"] for _, metrics in told]
    norm, controls = optimizer.accumulated(experiment.optimizer, grads, losses)
    rate = _move(experiment, state, grads, controls)
    # A step is skipped or counted once.
    once = [~controls[1], *([np.bool_(False)] * (len(told) - 1))]
    return [
        metrics | {"grad_norm": norm, "skipped": skipped, "rate": rate}
        for (_, metrics), skipped in zip(told, once, strict=True)
    ]


def _gradients_of(
    experiment: Experiment,
    state: TrainState,
    drawn: Sequence[tuple[Gradients, Task, Batch]],
    placement: Placement,
) -> tuple[Parts, list[tuple[tuple[Array, Array], dict[str, Array]]]]:
    """The sum of the batches' gradients, of which two are held at a time, and what each batch's
    program returns beside; the number of a batch in the run is what it draws from."""
    root = _key_data(experiment.seed)
    total: Parts = {}
    told = []
    for number, (program, task, batch) in enumerate(drawn, state.step * len(drawn)):
        parts = {name: state.parts[name] for name in parts_of(experiment.model, task)}
        inputs, targets = placement.batch((batch.inputs, targets_of(task, batch)))
        key = np.append(root, np.uint32(number))
        grads, controls, metrics = program(parts, inputs, targets, key)
        optimizer.accumulate(total, grads)
        told.append((controls, metrics))
    return total, told


@functools.cache
def _key_data(seed: int) -> np.ndarray:
    """Read off the device once: at every step it would wait for the steps before."""
    return np.asarray(jax.random.key_data(jax.random.key(seed)))


def _move(
    experiment: Experiment, state: TrainState, grads: Parts, controls: tuple[Array, Array]
) -> np.float32:
    """Updates the parts that have gradients; the step's learning rate."""
    config = experiment.optimizer
    rate = optimizer.learning_rate(config, state.step, experiment.steps)
    for name in grads:
        state.parts[name], state.moments[name] = optimizer.update(
            config,
            state.parts[name],
            state.moments[name],
            grads[name],
            rate * config.rate_of(name),
            *controls,
        )
    state.step += 1
    return np.float32(rate)


@jax.jit
def _mean(losses: list[Array]) -> Array:
    return sum(losses[1:], losses[0]) / len(losses)


def targets_of(task: Task, batch: Batch) -> dict[str, np.ndarray]:
    """What the task's objective reads: `objectives.Targets`."""

    def target(kind: TargetKind) -> np.ndarray:
        if kind == "labels":
            assert batch.labels is not None, f"{task.name} needs labels"
            return batch.labels
        if kind == "captions":
            # Of any host's examples, without asking the others: two captions in two billion
            # happen on one number, and are no negatives of each other then.
            return (randomness.of_rows(batch.inputs["text"]) >> np.uint64(33)).astype(np.int32)
        return batch.index.astype(np.int32)

    return {name: target(kind) for name, kind in task.objective.targets.items()}


def target_specs(task: Task, variant: Variant, parts: Parts) -> dict[str, jax.ShapeDtypeStruct]:
    """The shapes of `targets_of`."""
    specs = {}
    for name, kind in task.objective.targets.items():
        shape: tuple[int, ...] = (variant.batch_size,)
        if kind == "labels" and task.objective.labels_as == "multi_hot":
            assert task.objective.classifier is not None
            shape += (parts[classifier_part(task.objective.classifier)].kernel.shape[-1],)
        specs[name] = jax.ShapeDtypeStruct(shape, bool if len(shape) > 1 else np.int32)
    return specs
