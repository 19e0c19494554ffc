"""Objectives through the step that trains them: BCE on several labels, sums, triplets."""

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from imp_data.batch import Batch
from imp_data.views import AudioView, TextView, VideoView
from imp_model.model import Model
from imp_train.compile import CompiledSteps
from imp_train.conftest import IMAGE, TEXT
from imp_train.inputs import Choice
from imp_train.loop import initial_state
from imp_train.objectives import BCE, NCE, SCE, Sum, labels_needed, triplet
from imp_train.step import make_gradients, parts_of, take_step, targets_of
from imp_train.tasks import Task, Variant

COLOURS = {"colours": ("blue", "red", "green")}
CLIP, SOUND = VideoView(frames=4, size=16, fps=8), AudioView(frames=8, num_mels=16)


def task_of(objective, views, batch_size=6):
    return Task(
        name="t",
        dataset=Path("none"),
        objective=objective,
        variants=(Variant(views=views, batch_size=batch_size),),
    )


def batch_of(task, labels=None, seed=0):
    rng = np.random.default_rng(seed)
    inputs = {}
    for view in task.variants[0].views:
        shape = (task.variants[0].batch_size, *view.shape)
        match view.dtype:
            case "uint8":
                inputs[view.modality] = rng.integers(0, 256, shape, np.uint8)
            case "int32":
                inputs[view.modality] = rng.integers(1, 300, shape, np.int32)
            case _:
                inputs[view.modality] = rng.normal(-6, 3, shape).astype(np.float32)
    return Batch(inputs=inputs, labels=labels, index=np.arange(task.variants[0].batch_size))


def test_bce_trains_on_several_labels_and_none(make):
    """The compiled step takes bits of every class; the first loss is NumPy's of its logits."""
    task = task_of(BCE(modality="image", classifier="colours"), (IMAGE,))
    experiment = make(tasks=(task,), tokenizer=None)
    labels = np.array(
        [[1, 0, 0], [0, 1, 1], [1, 1, 1], [0, 0, 0], [0, 0, 1], [1, 0, 1]], dtype=bool
    )
    batch = batch_of(task, labels)
    state = initial_state(experiment, COLOURS)
    model = Model(experiment.model, state.parts)
    logits = model.classify(
        model.encode(jax.tree.map(jnp.asarray, batch.inputs))[0]["image"], "colours"
    )
    p = 1 / (1 + np.exp(-np.asarray(logits, np.float64)))
    wanted = -np.where(labels, np.log(p), np.log(1 - p)).sum(1).mean()
    choice = Choice(task, task.variants[0])
    programs = CompiledSteps(experiment, state, [choice])
    losses = [
        float(take_step(experiment, programs[choice], state, task, [batch], key)["loss"])
        for key in jax.random.split(jax.random.key(0), 12)
    ]
    programs.close()
    np.testing.assert_allclose(losses[0], wanted, rtol=1e-5)
    assert losses[-1] < 0.7 * losses[0]


SUMS = [
    (
        Sum(
            terms=(
                NCE(source="image", target="text", texts="label", prompts=("a {}",)),
                SCE(modality="image", classifier="colours"),
            )
        ),
        (IMAGE, TEXT),
    ),
    (triplet(), (CLIP, SOUND, TextView(length=8))),
]


@pytest.mark.parametrize(("objective", "views"), SUMS, ids=["label_nce+sce", "triplet"])
def test_a_sums_loss_and_gradient_are_its_terms_added(make, objective, views):
    whole = task_of(objective, views)
    experiment = make(
        tasks=(whole,), optimizer=dataclasses.replace(make().optimizer, clip_norm=1e9)
    )
    labels = np.array([0, 1, 2, 1, 0, 2], np.int32)
    batch = batch_of(whole, labels)
    state = initial_state(experiment, COLOURS)

    def found(task):
        own = Batch(
            inputs={m: batch.inputs[m] for m in task.objective.modalities},
            labels=labels,
            index=batch.index,
        )
        parts = {name: state.parts[name] for name in parts_of(experiment.model, task)}
        gradients = make_gradients(experiment, task, task.variants[0])
        grads, _, metrics = gradients(parts, own.inputs, targets_of(task, own), jax.random.key(0))
        return grads, metrics

    grads, metrics = found(whole)
    alone = [
        found(task_of(term, tuple(v for v in views if v.modality in term.modalities)))
        for term in objective.terms
    ]
    total = sum(float(own["loss"]) for _, own in alone)
    np.testing.assert_allclose(metrics["loss"], total, rtol=1e-5)
    for number, (term, (_, own)) in enumerate(zip(objective.terms, alone, strict=True)):
        np.testing.assert_allclose(metrics[f"{number}-{term.name}/loss"], own["loss"], rtol=1e-5)
    for name in grads:
        terms = [jax.tree.leaves(own[name]) for own, _ in alone if name in own]
        assert terms, name
        for leaf, *parts in zip(jax.tree.leaves(grads[name]), *terms, strict=True):
            wanted = sum(np.asarray(part, np.float64) for part in parts)
            scale = np.abs(wanted).max()
            np.testing.assert_allclose(leaf, wanted, rtol=1e-3, atol=1e-5 * scale, err_msg=name)


def test_a_triplet_is_two_contrasts_of_one_encoding():
    objective = triplet()
    assert objective.modalities == ("video", "audio", "text")
    assert objective.pairs == (("video", "audio"), ("video", "text"))
    assert {"head/video>audio", "head/audio>video", "temperature/audio-video"} <= set(
        objective.parts
    )
    assert "head/audio>text" not in objective.parts
    assert set(objective.targets.values()) == {"examples", "captions"}
    assert triplet(shared="image").modalities == ("image", "audio", "text")


def test_a_step_of_a_triplet_moves_its_three_embedders(make):
    objective, views = SUMS[1]
    task = task_of(objective, views)
    experiment = make(tasks=(task,))
    state = initial_state(experiment, COLOURS)
    before = {name: np.array(value) for name, value in state.arrays().items()}
    choice = Choice(task, task.variants[0])
    programs = CompiledSteps(experiment, state, [choice])
    take_step(experiment, programs[choice], state, task, [batch_of(task)], jax.random.key(0))
    programs.close()
    moved = {
        part
        for part in ("vision", "audio", "text")
        for name, value in state.arrays().items()
        if name.startswith(f"params/embedder/{part}/") and not np.array_equal(value, before[name])
    }
    assert moved == {"vision", "audio", "text"}


def test_labels_needed():
    sce, bce = (kind(modality="image", classifier="c") for kind in (SCE, BCE))
    by_name = NCE(source="image", target="text", texts="label")
    assert [labels_needed(o) for o in (sce, bce, by_name, triplet())] == [
        "one",
        "any",
        "some",
        None,
    ]
    assert labels_needed(Sum(terms=(by_name, sce))) == "one"
