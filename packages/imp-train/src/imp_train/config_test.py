"""What an Experiment refuses, when it is made."""

import dataclasses
import json

import pytest

from imp_data.views import ImageView
from imp_train.adaptive import ByProgress
from imp_train.config import to_json
from imp_train.conftest import IMAGE, TEXT
from imp_train.objectives import NCE, SCE
from imp_train.tasks import Variant


def test_unequal_tokens_are_refused_and_what_would_allow_them_is_told(make):
    experiment = make()
    task = experiment.tasks[0]
    double = (ImageView(size=32), TEXT)
    variants = (*task.variants, Variant(name="double", views=double, batch_size=4))
    unequal = dataclasses.replace(task, variants=variants)
    with pytest.raises(ValueError, match=r"'pictures' .*'base': 16, 'double': 64.*=4.00"):
        make(tasks=(unequal,))
    make(tasks=(unequal,), equal_tokens=4.0)
    for changes in ({"batch_size": 2, "drop": {"image": 0.5}}, {"drop": {"image": 0.75}}):
        cheap = dataclasses.replace(variants[1], **changes)
        make(tasks=(dataclasses.replace(task, variants=(variants[0], cheap)),))


def test_a_text_task_needs_a_tokenizer(make):
    with pytest.raises(ValueError, match="'tiny' reads text but has no tokenizer"):
        make(tokenizer=None)
    make(tasks=make().tasks[1:], tokenizer=None)


def test_no_task_no_step_and_a_name_twice_are_refused(make):
    task = make().tasks[0]
    with pytest.raises(ValueError, match="'tiny' has no task"):
        make(tasks=())
    with pytest.raises(ValueError, match="steps 0"):
        make(steps=0)
    with pytest.raises(ValueError, match="'pictures' twice"):
        make(tasks=(task, task))


def test_variants_and_tasks_refuse_what_cannot_be_trained(make):
    task = make().tasks[0]
    with pytest.raises(ValueError, match="batch_size 1"):
        Variant(views=(IMAGE,), batch_size=1)
    with pytest.raises(ValueError, match="two views of one modality"):
        Variant(views=(IMAGE, ImageView(size=32)), batch_size=4)
    with pytest.raises(ValueError, match="drops tokens of 'text'"):
        Variant(views=(IMAGE, TEXT), batch_size=4, drop={"text": 0.5})
    with pytest.raises(ValueError, match=r"drop ratio 1\.5"):
        Variant(views=(IMAGE,), batch_size=4, drop={"image": 1.5})
    with pytest.raises(ValueError, match="has no variant"):
        dataclasses.replace(task, variants=())
    with pytest.raises(ValueError, match=r"weight -1"):
        dataclasses.replace(task, weight=-1.0)
    with pytest.raises(ValueError, match=r"views \['image'\], its objective reads"):
        dataclasses.replace(task, variants=(Variant(views=(IMAGE,), batch_size=4),))


def test_objectives_refuse_what_has_no_meaning():
    with pytest.raises(ValueError, match="'image' twice"):
        NCE(source="image", target="image")
    with pytest.raises(ValueError, match="'captions' must be"):
        NCE(source="image", target="text", texts="captions")
    assert SCE(modality="image", classifier="x").parts == (
        "classifier/x",
        "embedder/vision",
        "encoder",
        "projection/vision",
    )


def test_json_is_equal_for_equal_experiments_alone(make):
    text = to_json(make())
    assert text == to_json(make())
    assert text != to_json(make(seed=1))
    assert json.loads(text)["tasks"][0]["objective"]["type"] == "NCE"


def test_mixed_steps_need_batches_to_mix_and_a_sampler_that_does_not_adapt(make):
    with pytest.raises(ValueError, match=r"mixed step needs optimizer\.accumulate of 2"):
        make(mixed=True)
    o = dataclasses.replace(make().optimizer, accumulate=2)
    with pytest.raises(ValueError, match="from which ByProgress does not learn"):
        make(mixed=True, optimizer=o, sampler=ByProgress())
    make(mixed=True, optimizer=o)
