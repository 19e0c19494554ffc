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
from imp_train.conftest import IMAGE, MODEL, TEXT
from imp_train.initial import initial_state
from imp_train.inputs import Choice
from imp_train.objectives import BCE, NCE, SCE, Sum, labels_needed, triplet
from imp_train.placement import Placement
from imp_train.step import take_step, targets_of
from imp_train.tasks import Task, Variant

COLOURS = {"colours": ("blue", "red", "green")}
# Half the program to compile.
DENSE = dataclasses.replace(MODEL, num_moe_layers=0, num_experts=1)
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
    experiment = make(tasks=(task,), tokenizer=None, model=DENSE)
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
    placement = Placement(experiment.model)
    programs = CompiledSteps(experiment, state, [choice], placement)
    losses = [
        float(take_step(experiment, programs[choice], state, task, [batch], placement)["loss"])
        for _ in range(12)
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
def test_a_step_of_a_sum_adds_its_terms_and_moves_what_any_of_them_uses(make, objective, views):
    task = task_of(objective, views)
    experiment = make(tasks=(task,), model=DENSE)
    labels = np.array([0, 1, 2, 1, 0, 2], np.int32)
    batch = batch_of(task, labels)
    state = initial_state(experiment, COLOURS)

    @jax.jit
    def terms(parts, inputs, targets):
        model = Model(experiment.model, parts)
        pooled = model.encode(inputs)[0]
        return [
            term.loss(model, pooled, {k: targets[f"{number}-{k}"] for k in term.targets})[0]
            for number, term in enumerate(objective.terms)
        ]

    wanted = terms(state.parts, batch.inputs, targets_of(task, batch))
    before = {name: np.array(value) for name, value in state.arrays().items()}
    choice = Choice(task, task.variants[0])
    placement = Placement(experiment.model)
    programs = CompiledSteps(experiment, state, [choice], placement)
    metrics = take_step(experiment, programs[choice], state, task, [batch], placement)
    programs.close()
    np.testing.assert_allclose(metrics["loss"], sum(map(float, wanted)), rtol=1e-5)
    for number, (term, loss) in enumerate(zip(objective.terms, wanted, strict=True)):
        np.testing.assert_allclose(metrics[f"{number}-{term.name}/loss"], loss, rtol=1e-5)
    moved = {
        name
        for name in state.parts
        for key, value in state.arrays().items()
        if key.startswith(f"params/{name}/") and not np.array_equal(value, before[key])
    }
    assert moved == {part for term in objective.terms for part in term.parts}


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
