"""The paper's pretraining: its arithmetic in full size, and a run of it in small."""

from pathlib import Path

import numpy as np
import pytest

from imp_train.experiments import make
from imp_train.experiments.corpora import TASKS
from imp_train.inputs import Inputs, load_datasets
from imp_train.step import signature, targets_of

IMP = ("imp-b", "imp-moe-b", "imp-moe-l")


@pytest.mark.parametrize("name", IMP)
def test_every_kind_of_task_at_equal_tokens(name):
    experiment = make(name, Path("data"))
    base = 65_536 * 256
    kinds = set()
    for task in experiment.tasks:
        seen = task.objective.modalities[0]
        kinds.add((task.objective.name, *task.objective.modalities))
        tokens = [variant.tokens(experiment.model)[seen] for variant in task.variants]
        assert tokens == ([65_536 * 64] if seen == "audio" else [base] * 3), task.name
    assert kinds == {
        *(("nce", *pair) for pair in (("image", "text"), ("video", "text"), ("video", "audio"))),
        *((kind, m) for kind in ("sce", "bce") for m in ("image", "video", "audio")),
        *(("label_nce", modality, "text") for modality in ("image", "video", "audio")),
    }
    assert len(experiment.tasks) == 20
    programs = {signature(experiment.model, t, v) for t in experiment.tasks for v in t.variants}
    assert len(programs) == 30
    assert experiment.model.remat == "full"


def test_variants_are_the_papers():
    tasks = {task.name: task for task in make("imp-b", Path("data")).tasks}

    def seen(name):
        return {v.name: (v.batch_size, v.views[0].shape, v.drop) for v in tasks[name].variants}

    assert seen("i21k/image-sce") == {
        "base": (65_536, (256, 256, 3), {}),
        "double": (16_384, (512, 512, 3), {}),
        "drop": (65_536, (512, 512, 3), {"image": 0.75}),
    }
    assert seen("wts70m/video-label") == {
        "half": (65_536, (16, 128, 128, 3), {}),
        "quarter-batch": (16_384, (16, 256, 256, 3), {}),
        "drop": (65_536, (16, 256, 256, 3), {"video": 0.75}),
    }
    lengths = {name: tasks[name].variants[0].views[1].shape for name in tasks if "-text" in name}
    assert set(lengths.values()) == {(256,)}
    assert tasks["jft3b/image-label"].variants[0].views[1].shape == (16,)


def test_recipes_are_the_papers_and_the_released_codes():
    paper = make("imp-moe-l", Path("data"))
    assert (paper.steps, paper.optimizer.peak_rate, paper.optimizer.weight_decay) == (
        250_000,
        1e-3,
        0.0,
    )
    released = make("imp-moe-l", Path("data"), recipe="released")
    o = released.optimizer
    assert (released.steps, released.tasks[0].variants[0].batch_size) == (500_000, 8_192)
    assert (o.peak_rate, o.warmup_steps, o.weight_decay, o.epsilon) == (5e-4, 50_000, 1e-4, 1e-7)
    o = make("imp-b", Path("data"), recipe="released").optimizer
    assert (o.peak_rate, o.warmup_steps) == (1e-3, 25_000)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"batch": 10}, "batch 10 must be a multiple of 4"),
        ({"resolution": 40}, "resolution 40 must be a multiple of 32"),
        ({"datasets": ("imagenet",)}, "dataset 'imagenet' is unknown; choose among webli"),
        ({"datasets": ()}, "choose one set at least"),
        ({"recipe": "mine"}, "recipe 'mine' is unknown; one of paper, released"),
        ({"model": "imp-xl"}, "model size 'imp-xl' is unknown"),
        ({"minutes": 3.0}, "experiment 'imp-b' has no --minutes; it has --model, --batch"),
    ],
)
def test_what_it_cannot_be_is_refused(options, said):
    with pytest.raises(ValueError, match=said):
        make("imp-b", Path("data"), **options)


@pytest.fixture
def small(corpora):
    return make(
        "imp-moe-b",
        corpora,
        model="imp-moe-tiny",
        batch=8,
        steps=5,
        resolution=32,
        datasets=("i21k", "audioset"),
    )


def test_small_sets_of_the_right_names_give_every_batch(small):
    inputs = Inputs(small, load_datasets(small))
    assert len(inputs.schedule.choices) == 3 * (2 + 3) + 2
    for choice in inputs.schedule.choices:
        batch = inputs._loaders[choice.key].batch(0)
        for view in choice.variant.views:
            found = batch.inputs[view.modality]
            assert found.shape == (choice.variant.batch_size, *view.shape)
        labels = targets_of(choice.task, batch).get("labels")
        bits = choice.task.name.endswith("-bce")
        assert labels is None or labels.dtype == (np.bool_ if bits else np.int32)


def test_a_classs_name_stands_in_prompts_and_its_examples_are_one_group(small):
    """Also where examples have several labels: the group is the label that the text names."""
    inputs = Inputs(small, load_datasets(small))
    by_name = {choice.key: choice for choice in inputs.schedule.choices}
    assert len({c.task.name for c in by_name.values()}) == sum(
        len(TASKS[name]) for name in ("i21k", "audioset")
    )
    for key in ("i21k/image-label/base", "audioset/audio-label/base"):
        batch = inputs._loaders[key].batch(0)
        assert batch.labels.min() >= 0
        texts, labels = {}, batch.labels.tolist()
        for words, label in zip(batch.inputs["text"].tolist(), labels, strict=True):
            texts.setdefault(tuple(words), set()).add(label)
        assert all(len(own) == 1 for own in texts.values()), "equal words, equal labels"
        assert len(texts) > len(set(labels)), "one label, several prompts"
