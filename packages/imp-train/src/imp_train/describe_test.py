"""What show prints, against golden files; and as values."""

import dataclasses
import json
from pathlib import Path

import pytest

from imp_model.model import num_parameters
from imp_train.describe import describe, page
from imp_train.goldens import show
from imp_train.initial import classifiers, initial_state
from imp_train.inputs import load_datasets
from imp_train.sampler import Stratified


@pytest.mark.parametrize("name", show.NAMES)
def test_the_page_is_the_golden_one(name):
    assert show.shown(name) == show.golden(name).read_text(), "python -m imp_train.goldens.show"


def test_with_data_there_weights_are_examples_and_parameters_complete(make, data):
    experiment = make()
    found = json.loads(json.dumps(describe(experiment)))
    assert [(t["weight"], t["weight_is"], t["share"]) for t in found["tasks"]] == [
        (12.0, "examples", 0.5),
        (12.0, "examples", 0.5),
    ]
    state = initial_state(experiment, classifiers(experiment, load_datasets(experiment)))
    assert found["model"]["parameters"] == sum(map(num_parameters, state.parts.values()))
    assert found["model"]["classifiers"] == {"colours": 2}
    assert found["signatures"] == 2
    (dataset,) = found["datasets"]
    assert (dataset["views"], dataset["captions"], dataset["labels"]) == (
        ["image-16"],
        True,
        "one",
    )
    text = page(found, "what it is for")
    assert text.startswith("tiny: what it is for\n")
    assert "12 examples  50.0%" in text
    assert f"{data / 'labelled'}  image-16, captions, one label each  train 12" in text
    assert "not known yet" not in text


def test_a_weight_that_is_not_known_leaves_every_share_open(make, data):
    pictures, classes = make().tasks
    heavy = dataclasses.replace(classes, weight=30.0)
    missing = dataclasses.replace(pictures, dataset=Path("nowhere"))
    found = describe(make(tasks=(missing, heavy), sampler=Stratified(deck=8)))
    assert [(t["weight"], t["share"]) for t in found["tasks"]] == [(None, None), (30.0, None)]
    assert found["sampler"] == "Stratified(deck=8)"
    assert "by examples      ?" in page(found)


def test_options_of_the_optimizer_are_told(make):
    o = dataclasses.replace(
        make().optimizer, rates=(("encoder", 0.1),), accumulate=4, average=0.999, weight_decay=0.1
    )
    text = page(describe(make(optimizer=o)))
    for words in (
        "AdamW with decay 0.1",
        "encoder at 0.1 of the rate",
        "4 batches a step",
        "0.999",
    ):
        assert words in text
