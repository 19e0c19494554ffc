"""Datasets against what tasks need, the schedule, and batches that start anywhere."""

import dataclasses
import shutil

import numpy as np
import pytest

from imp_data import own_tokenizer
from imp_data.pipelines.build import build_dataset
from imp_data.tokenizer import Tokenizer
from imp_train.conftest import IMAGE, MODEL
from imp_train.inputs import Inputs, load_datasets, schedule_of
from imp_train.objectives import NCE
from imp_train.tasks import Task


def test_labels_that_a_dataset_lacks_are_refused_by_task(make, data):
    pictures, classes = make().tasks
    by_label = NCE(source="image", target="text", texts="label", prompts=("{}",))
    for task in (classes, dataclasses.replace(pictures, objective=by_label)):
        plain = dataclasses.replace(task, dataset=data / "plain")
        with pytest.raises(ValueError, match=f"{task.name!r} needs labels; dataset plain"):
            load_datasets(make(tasks=(plain,)))
    captioned = dataclasses.replace(pictures, dataset=data / "plain")
    assert load_datasets(make(tasks=(captioned,)))["pictures"].num_examples["train"] == 5


def test_a_label_on_some_examples_alone_is_refused(make, data, tmp_path):
    """Softmax would else train the others as the last class."""
    shutil.copytree(data / "source" / "labelled", tmp_path / "source")
    (tmp_path / "source" / "red" / "red-a.png").rename(tmp_path / "source" / "red-a.png")
    build_dataset(
        source=f"folder:{tmp_path / 'source'}",
        out=tmp_path / "partly",
        views=[IMAGE],
        progress=False,
        num_threads=1,
    )
    task = dataclasses.replace(make().tasks[1], dataset=tmp_path / "partly")
    with pytest.raises(ValueError, match="'classes' needs one label on every example"):
        load_datasets(make(tasks=(task,)))


def test_a_dataset_or_split_that_is_not_there_is_named(make, data):
    task = make().tasks[0]
    with pytest.raises(FileNotFoundError, match="nowhere"):
        load_datasets(make(tasks=(dataclasses.replace(task, dataset=data / "nowhere"),)))
    with pytest.raises(ValueError, match="test"):
        load_datasets(make(tasks=(dataclasses.replace(task, split="test"),)))


def test_a_tokenizer_that_is_missing_or_too_large_is_refused(make, data):
    experiment = make(tokenizer=data / "none.model")
    with pytest.raises(FileNotFoundError, match=r"none\.model.*imp-data tokenizer"):
        Inputs(experiment, load_datasets(experiment))
    experiment = make(model=dataclasses.replace(MODEL, vocab_size=260))
    with pytest.raises(ValueError, match="vocab_size 260"):
        Inputs(experiment, load_datasets(experiment))


def test_a_dataset_that_holds_another_tokenizer_is_refused(make, data, tmp_path):
    shutil.copytree(data / "labelled", tmp_path / "labelled")
    other = Tokenizer.train(["quite other words"], None, 280)
    own_tokenizer.give(tmp_path / "labelled", other)
    task = dataclasses.replace(make().tasks[0], dataset=tmp_path / "labelled")
    experiment = make(tasks=(task,))
    with pytest.raises(ValueError, match=r"^dataset labelled holds tokenizer .*[^\n]*$"):
        Inputs(experiment, load_datasets(experiment))


def test_weights_are_numbers_of_examples_unless_given_shared_by_variants(make, data):
    experiment = make()
    pictures, classes = experiment.tasks
    base = pictures.variants[0]
    two = dataclasses.replace(pictures, variants=(base, dataclasses.replace(base, name="again")))
    heavy = dataclasses.replace(classes, weight=30.0)
    plain = Task(
        name="plain", dataset=data / "plain", objective=two.objective, variants=two.variants[:1]
    )
    experiment = make(tasks=(two, heavy, plain))
    schedule = schedule_of(experiment, load_datasets(experiment))
    assert [choice.key for choice in schedule.choices] == [
        "pictures/base",
        "pictures/again",
        "classes/base",
        "plain/base",
    ]
    assert schedule.weights == [6, 6, 30, 5]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_batches_from_any_step_are_those_of_a_run_from_the_start(make, num_workers):
    experiment = make(steps=8)
    datasets = load_datasets(experiment)
    batches = Inputs(experiment, datasets).batches(0, {})
    straight, positions = [], [{}]
    for _ in range(8):
        (choice,), (batch,) = next(batches)
        straight.append((choice.key, batch))
        before = positions[-1]
        positions.append(before | {choice.key: before.get(choice.key, 0) + 1})
    assert next(batches, None) is None
    batches.close()
    assert len({key for key, _ in straight}) == 2
    later = Inputs(experiment, datasets, num_workers=num_workers).batches(5, positions[5])
    for key, batch in straight[5:]:
        (choice,), (again,) = next(later)
        assert choice.key == key
        np.testing.assert_array_equal(batch.index, again.index)
        for modality, values in batch.inputs.items():
            np.testing.assert_array_equal(values, again.inputs[modality])
    later.close()
