"""One AGD step moves what its task uses and nothing else."""

import dataclasses
from pathlib import Path

import jax
import numpy as np
import pytest

from imp_data.views import AudioView, ImageView
from imp_model.model import Model
from imp_train.compile import CompiledSteps
from imp_train.conftest import IMAGE, MODEL, TEXT
from imp_train.initial import classifiers, initial_state
from imp_train.inputs import Choice, Inputs, load_datasets
from imp_train.objectives import BCE, NCE, SCE, Sum
from imp_train.placement import Placement
from imp_train.step import (
    key_of,
    make_gradients,
    parts_of,
    signature,
    take_mixed_step,
    take_step,
    targets_of,
)
from imp_train.tasks import Task, Variant


@pytest.fixture(scope="module")
def run(make):
    """run(state, name, steps): that many steps of one task alone, and the last one's metrics."""
    experiment = make()
    datasets = load_datasets(experiment)
    inputs = Inputs(experiment, datasets)
    labels = classifiers(experiment, datasets)
    choices = {choice.task.name: choice for choice in inputs.schedule.choices}
    state = initial_state(experiment, labels)
    placement = Placement(experiment.model)
    programs = CompiledSteps(experiment, state, list(choices.values()), placement)

    def steps(state, name, count):
        choice, metrics = choices[name], None
        loader = inputs._loaders[choice.key]
        for step in range(count):
            metrics = take_step(
                experiment,
                programs[choice],
                state,
                choice.task,
                [loader.batch(step)],
                placement,
            )
        return metrics

    steps.fresh = lambda: initial_state(experiment, labels)
    yield steps
    programs.close()


def arrays(state):
    """Copies: a step gives its buffers away."""
    return {name: np.array(value) for name, value in state.arrays().items()}


@pytest.mark.parametrize("name", ["pictures", "classes"])
def test_parts_and_moments_outside_the_task_are_bit_unchanged(run, make, name):
    state = run.fresh()
    run(state, "pictures", 1)
    run(state, "classes", 1)  # No moment is zero any more.
    before = arrays(state)
    run(state, name, 3)
    after = arrays(state)
    (task,) = (task for task in make().tasks if task.name == name)
    inside = tuple(
        f"{kind}/{part}/" for kind in ("params", "moments") for part in task.objective.parts
    )
    moved = {key for key in before if not np.array_equal(before[key], after[key])}
    assert moved == {key for key in before if key.startswith(inside)}
    outside = "head/image>text" if name == "classes" else "classifier/colours"
    assert f"moments/{outside}/0" in set(before) - moved
    assert state.step == 5


def test_several_steps_learn(run):
    state = run.fresh()
    first = float(run(state, "classes", 1)["loss"])
    assert float(run(state, "classes", 12)["loss"]) < first


def test_a_gradient_that_is_not_finite_changes_nothing(run):
    state = run.fresh()
    run(state, "pictures", 1)
    scale = state.parts["temperature/image-text"].log_scale
    scale[...] = np.float32(np.nan)
    before = arrays(state)
    metrics = run(state, "pictures", 1)
    assert bool(metrics["skipped"])
    for name, value in arrays(state).items():
        np.testing.assert_array_equal(value, before[name])
    assert state.step == 2


def test_the_routers_auxiliary_losses_are_trained(make):
    config = dataclasses.replace(
        MODEL, router="tokens_choose", importance_loss=100.0, load_loss=50.0
    )
    experiment = make(model=config)
    task = experiment.tasks[1]
    state = initial_state(experiment, {"colours": ("blue", "red")})
    parts = {name: state.parts[name] for name in task.objective.parts}
    image = np.random.default_rng(0).integers(0, 256, (4, 16, 16, 3), np.uint8)
    labels = {"labels": np.array([0, 1, 0, 1], np.int32)}
    inputs = ({"image": image}, labels, np.zeros(3, np.uint32))

    @jax.jit
    def alone(parts, inputs, targets, draw):
        model = Model(config, parts)
        pooled, routers = model.encode(inputs, key=key_of(draw))
        return task.objective.loss(model, pooled, targets)[0], routers

    gradients = make_gradients(experiment, task, task.variants[0])
    loss, metrics = alone(parts, *inputs)
    total = gradients(parts, *inputs)[2]["loss"]
    added = 100 * metrics["image/importance_loss"] + 50 * metrics["image/load_loss"]
    assert added.shape == (1,)
    np.testing.assert_allclose(total - loss, added.sum(), rtol=1e-4)


def test_a_step_of_one_tower_leaves_the_others(make):
    experiment = make(model=dataclasses.replace(MODEL, towers="three_full"))
    pictures, classes = experiment.tasks
    state = initial_state(experiment, {"colours": ("blue", "red")})
    encoders = {
        task.name: {p for p in parts_of(experiment.model, task) if p.startswith("encoder")}
        for task in (pictures, classes)
    }
    assert encoders["classes"] == {"encoder/vision"}
    assert encoders["pictures"] == {"encoder/vision", "encoder/text"}
    parts = {name: state.parts[name] for name in parts_of(experiment.model, classes)}
    image = jax.ShapeDtypeStruct((4, 16, 16, 3), np.uint8)
    labels = {"labels": jax.ShapeDtypeStruct((4,), np.int32)}
    gradients = make_gradients(experiment, classes, classes.variants[0])
    grads, _, _ = jax.eval_shape(gradients, parts, {"image": image}, labels, np.zeros(3, np.uint32))
    assert set(grads) == set(parts)


def test_signatures_tell_programs_apart_and_not_tasks():
    base = Variant(views=(IMAGE, TEXT), batch_size=4)
    task = Task(
        name="a", dataset=Path("x"), objective=NCE(source="image", target="text"), variants=(base,)
    )

    def key(task=task, variant=base, model=MODEL):
        return signature(model, task, variant)

    by_label = NCE(source="image", target="text", texts="label", prompts=("a {}",))
    assert key() == key(dataclasses.replace(task, name="b", dataset=Path("y"), weight=3.0))
    assert key() == key(dataclasses.replace(task, objective=by_label))
    assert key() == key(variant=dataclasses.replace(base, name="again"))
    others = [
        key(variant=dataclasses.replace(base, batch_size=8)),
        key(variant=dataclasses.replace(base, drop={"image": 0.5})),
        key(variant=dataclasses.replace(base, views=(ImageView(size=32), TEXT))),
        key(model=dataclasses.replace(MODEL, remat="full")),
        key(dataclasses.replace(task, objective=NCE(source="text", target="image"))),
        key(dataclasses.replace(task, objective=Sum(terms=(task.objective, task.objective)))),
    ]
    image = Variant(views=(IMAGE,), batch_size=4)
    for name in ("colours", "shapes"):
        for kind in (SCE, BCE):
            own = dataclasses.replace(
                task, objective=kind(modality="image", classifier=name), variants=(image,)
            )
            others.append(key(own, image))
    assert len({key(), *others}) == len(others) + 1


def test_programs_are_shared_by_equal_signatures(make):
    experiment = make()
    pictures, classes = experiment.tasks
    again = dataclasses.replace(pictures, name="again", weight=2.0)
    experiment = make(tasks=(pictures, again, classes))
    state = initial_state(experiment, {"colours": ("blue", "red")})
    choices = [Choice(task, task.variants[0]) for task in experiment.tasks]
    programs = CompiledSteps(experiment, state, choices, Placement(experiment.model))
    assert len(programs) == 2
    assert programs[choices[0]] is programs[choices[1]]
    assert programs[choices[0]] is not programs[choices[2]]
    programs.close()


def test_targets_are_labels_else_equal_texts_else_places(make):
    experiment = make()
    pictures, classes = experiment.tasks
    inputs = Inputs(experiment, load_datasets(experiment))
    batch = inputs._loaders["pictures/base"].batch(0)
    np.testing.assert_array_equal(targets_of(classes, batch)["labels"], batch.labels)
    text = batch.inputs["text"]
    text[2] = text[0]
    groups = targets_of(pictures, batch)["groups"]
    alike = (text[:, None] == text[None]).all(-1)
    np.testing.assert_array_equal(groups[:, None] == groups[None], alike)
    sounds = dataclasses.replace(
        pictures,
        objective=NCE(source="image", target="audio"),
        variants=(Variant(views=(IMAGE, AudioView(frames=8)), batch_size=4),),
    )
    repeated = dataclasses.replace(batch, index=np.array([5, 9, 5, 2]))
    np.testing.assert_array_equal(targets_of(sounds, repeated)["groups"], [5, 9, 5, 2])
    both = Sum(terms=(pictures.objective, classes.objective))
    summed = targets_of(dataclasses.replace(pictures, objective=both), batch)
    assert set(summed) == {"0-groups", "1-labels"}
    np.testing.assert_array_equal(summed["0-groups"], groups)
    np.testing.assert_array_equal(summed["1-labels"], batch.labels)


def test_two_batches_of_a_step_are_one_of_twice_the_size(make):
    """For a loss that is a mean over examples; the parameters move alike, to rounding."""
    _, classes = make().tasks
    whole = dataclasses.replace(
        classes, variants=(dataclasses.replace(classes.variants[0], batch_size=8),)
    )
    ends = []
    for task, accumulate in ((whole, 1), (classes, 2)):
        optimizer = dataclasses.replace(make().optimizer, accumulate=accumulate, clip_norm=0.01)
        experiment = make(tasks=(task,), optimizer=optimizer)
        inputs = Inputs(experiment, load_datasets(experiment))
        state = initial_state(experiment, {"colours": ("blue", "red")})
        _, own = next(inputs.batches(0, {}))
        gradients = make_gradients(experiment, task, task.variants[0])
        placement = Placement(experiment.model)
        metrics = take_step(experiment, gradients, state, task, own, placement)
        ends.append((arrays(state), metrics, [batch.index for batch in own]))
    (one, ours, seen), (two, theirs, seen_too) = ends
    np.testing.assert_array_equal(np.concatenate(seen), np.concatenate(seen_too))
    for name in ("loss", "grad_norm"):
        np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-4)
    moments = [name for name in one if name.startswith("moments/encoder/")]
    assert moments
    for name in moments:
        scale = np.abs(one[name]).max()
        np.testing.assert_allclose(one[name], two[name], rtol=1e-3, atol=1e-5 * scale)


def test_a_mixed_step_is_the_mean_of_its_batches_gradients(make):
    """Of two batches of one task it is what accumulating them is; of two tasks it moves the parts
    of both, each as its own gradient says."""
    experiment = make(optimizer=dataclasses.replace(make().optimizer, accumulate=2))
    pictures, classes = experiment.tasks
    loaders = Inputs(experiment, load_datasets(experiment))._loaders
    gradients = {t.name: make_gradients(experiment, t, t.variants[0]) for t in experiment.tasks}

    def fresh():
        return initial_state(experiment, {"colours": ("blue", "red")})

    placement = Placement(experiment.model)
    own = [loaders["classes/base"].batch(step) for step in range(2)]
    one, other = fresh(), fresh()
    alone = take_step(experiment, gradients["classes"], one, classes, own, placement)
    mixed = take_mixed_step(
        experiment, [gradients["classes"]] * 2, other, [classes] * 2, own, placement
    )
    for name, value in arrays(one).items():
        np.testing.assert_array_equal(value, arrays(other)[name], err_msg=name)
    assert float(alone["loss"]) == pytest.approx(np.mean([float(m["loss"]) for m in mixed]))
    assert [bool(m["skipped"]) for m in mixed] == [False, False]

    state = fresh()
    before = arrays(state)
    batches = [loaders["pictures/base"].batch(0), own[0]]
    tasks = [pictures, classes]
    metrics = take_mixed_step(
        experiment, [gradients[t.name] for t in tasks], state, tasks, batches, placement
    )
    assert state.step == 1
    assert len(metrics) == 2
    assert float(metrics[0]["grad_norm"]) == float(metrics[1]["grad_norm"])
    moved = {
        name for name, value in arrays(state).items() if not np.array_equal(value, before[name])
    }
    both = {part for task in tasks for part in task.objective.parts}
    assert moved == {
        name for name in before if name.split("/", 1)[1].startswith(tuple(f"{p}/" for p in both))
    }


def test_a_mixed_step_that_is_not_finite_is_skipped_and_counted_once(make):
    experiment = make(optimizer=dataclasses.replace(make().optimizer, accumulate=2))
    loaders = Inputs(experiment, load_datasets(experiment))._loaders
    state = initial_state(experiment, {"colours": ("blue", "red")})
    state.parts["temperature/image-text"].log_scale[...] = np.float32(np.nan)
    before = arrays(state)
    found = take_mixed_step(
        experiment,
        [make_gradients(experiment, t, t.variants[0]) for t in experiment.tasks],
        state,
        experiment.tasks,
        [loaders[f"{t.name}/base"].batch(0) for t in experiment.tasks],
        Placement(experiment.model),
    )
    assert [bool(metrics["skipped"]) for metrics in found] == [True, False]
    for name, value in arrays(state).items():
        np.testing.assert_array_equal(value, before[name])
