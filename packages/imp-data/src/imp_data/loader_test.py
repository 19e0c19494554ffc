import json
import os
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from imp_data import inspect
from imp_data.augment import Augment
from imp_data.conftest import NUM_GREYS
from imp_data.datasets import Dataset
from imp_data.loader import Loader
from imp_data.pipelines import build
from imp_data.views import ImageView, TextView

VIEW = ImageView(size=4)
AUGMENT = Augment(crop_scale=(0.8, 1.0), brightness=0.15, contrast=0.25)
COUNT = NUM_GREYS


@pytest.fixture(scope="module")
def dataset(greys) -> Dataset:
    return greys


@pytest.fixture(scope="module")
def tokenizer(grey_tokenizer):
    return grey_tokenizer


def loader(dataset, **options):
    options = {"split": "train", "views": [VIEW], "batch_size": 6, "seed": 0} | options
    return Loader(dataset, **options)


def same(a, b):
    assert a.inputs.keys() == b.inputs.keys()
    assert all((a.inputs[key] == b.inputs[key]).all() for key in a.inputs)
    assert (a.index == b.index).all()
    assert (a.labels == b.labels).all()


@settings(deadline=None, max_examples=25)
@given(
    hosts=st.sampled_from([1, 2, 3, 4, 6]),
    step=st.integers(0, 10**9),
    seed=st.integers(0, 1000),
)
def test_hosts_together_are_one_host(dataset, tokenizer, hosts, step, seed):
    options = {
        "views": [VIEW, TextView(length=8)],
        "batch_size": 12,
        "seed": seed,
        "tokenizer": tokenizer,
        "augment": AUGMENT,
    }
    whole = loader(dataset, **options).batch(step)
    parts = [
        loader(dataset, shards=(host,), num_shards=hosts, **options).batch(step)
        for host in range(hosts)
    ]
    for key, array in whole.inputs.items():
        assert (np.concatenate([part.inputs[key] for part in parts]) == array).all()
    assert (np.concatenate([part.index for part in parts]) == whole.index).all()


@settings(deadline=None, max_examples=25)
@given(stop=st.integers(0, 40), batch_size=st.integers(1, 50))
def test_a_resumed_run_is_the_uninterrupted_one(dataset, batch_size, stop):
    with loader(dataset, batch_size=batch_size, augment=AUGMENT) as first:
        for step, batch in zip(range(stop, stop + 3), first.batches(stop), strict=False):
            same(batch, loader(dataset, batch_size=batch_size, augment=AUGMENT).batch(step))


@settings(deadline=None, max_examples=50)
@given(
    segments=st.lists(
        st.tuples(st.sampled_from([1, 2, 4]), st.integers(0, 4)), min_size=1, max_size=4
    ),
    share=st.integers(1, 15),
    seed=st.integers(0, 2**32),
)
def test_stops_and_hosts_lose_and_repeat_nothing(dataset, segments, share, seed):
    """[(hosts, steps)]: after each the run stops and goes on with the next."""
    options = {"batch_size": 4 * share, "seed": seed}
    seen, shown, step = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)], 0
    for num_hosts, steps in segments:
        hosts = [
            loader(dataset, shards=(host,), num_shards=num_hosts, **options)
            for host in range(num_hosts)
        ]
        for number in range(step, step + steps):
            for host in hosts:
                batch = host.batch(number)
                seen.append(batch.index)
                shown.append(batch.inputs["image"][:, 0, 0, 0] // 6)
        step += steps
    index = np.concatenate(seen)
    names = np.array([int(e.id.split("-")[1][:-4]) for e in dataset.examples("train")])
    assert (np.concatenate(shown) == names[index]).all()
    with loader(dataset, **options) as whole:
        straight = [batch.index for batch in whole.batches(0, step)]
    assert (index == np.concatenate([seen[0], *straight])).all()
    epochs = index[: len(index) // COUNT * COUNT].reshape(-1, COUNT)
    assert (np.sort(epochs, axis=1) == np.arange(COUNT)).all()
    rest = index[epochs.size :]
    assert len(np.unique(rest)) == len(rest)


@pytest.mark.parametrize("batch_size", [1, 5, 37, 50])
def test_batches_straddle_epochs_and_lose_nothing(dataset, batch_size):
    with loader(dataset, batch_size=batch_size) as batches:
        index = np.concatenate([batch.index for batch in batches.batches(0, 4 * 37)])
    epochs = index[: len(index) // COUNT * COUNT].reshape(-1, COUNT)
    assert (np.sort(epochs, axis=1) == np.arange(COUNT)).all()


def test_arrays_words_and_labels_belong_together(dataset, tokenizer):
    views = [VIEW, TextView(length=12)]
    batch = loader(dataset, views=views, tokenizer=tokenizer, batch_size=COUNT).batch(0)
    words = tokenizer.decode(batch.inputs["text"])
    for row in range(COUNT):
        number = int(words[row].split()[1])
        assert (batch.inputs["image"][row] == (number * 6, 0, 0)).all()
        assert dataset.label_names[batch.labels[row]] == ("even", "odd")[number % 2]


def test_all_visits_each_once_in_order(dataset):
    batches = list(loader(dataset, augment=AUGMENT).all(10))
    assert [len(batch.index) for batch in batches] == [10, 10, 10, 7]
    assert np.concatenate([batch.index for batch in batches]).tolist() == list(range(COUNT))


def test_label_names_in_prompts(dataset, tokenizer):
    options = {"views": [TextView(length=60)], "tokenizer": tokenizer, "batch_size": COUNT}
    prompts = ("an {} number", "{}, i think")
    batch = loader(dataset, texts="label", prompts=prompts, **options).batch(0)
    found = set(tokenizer.decode(batch.inputs["text"]))
    wanted = {prompt.replace("{}", name) for prompt in prompts for name in ("even", "odd")}
    assert found == wanted
    captioned = loader(dataset, prompts=("a picture of {}",), **options).batch(0)
    assert all(
        w.startswith("a picture of grey") for w in tokenizer.decode(captioned.inputs["text"])
    )


def test_closing_ends_the_thread_and_an_error_arrives(dataset):
    batches = loader(dataset)
    with batches:
        held = iter(batches)
        next(held)
    assert not [t for t in threading.enumerate() if t.name.startswith("prefetch")]
    with pytest.raises(ValueError, match="step -1 must be at least 0"):
        next(batches.batches(-1))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"views": [ImageView(size=5)]}, "does not store image-5; it stores image-4"),
        ({"views": [TextView(length=4)]}, "needs a tokenizer"),
        ({"views": []}, "one a modality"),
        ({"views": [VIEW, ImageView(size=5)]}, "one a modality"),
        ({"split": "dev"}, "has no split 'dev'; it has train"),
        ({"num_shards": 4}, "multiple of 4 shards"),
        ({"shards": (1,)}, r"shards \(1,\) must be one or more within 0 and 0"),
        ({"num_workers": -1}, "num_workers -1 must be at least 0"),
    ],
)
def test_what_is_wrong_is_said(dataset, options, message):
    with pytest.raises(ValueError, match=message):
        loader(dataset, **options)


def test_wrong_texts_are_said(dataset, tokenizer):
    options = {"views": [TextView(length=4)], "tokenizer": tokenizer}
    with pytest.raises(ValueError, match="where the text goes"):
        loader(dataset, prompts=("no place",), **options)


def built(tmp_path, rows) -> Dataset:
    for row in rows:
        Image.new("RGB", (4, 4)).save(tmp_path / row["path"])
    (tmp_path / "m.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return build.build_dataset(
        source=f"jsonl:{tmp_path}/m.jsonl", out=tmp_path / "out", views=[VIEW], progress=False
    )


def test_an_example_of_several_labels_shows_each_of_their_names_and_says_which(tmp_path, tokenizer):
    dataset = built(tmp_path, [{"path": "a.png", "labels": ["grey 3", "grey 12"]}])
    assert [example.labels for example in dataset.examples("train")] == [(0, 1)]
    assert loader(dataset).batch(0).labels.tolist() == [-1] * 6
    assert "grey 12 1, grey 3 1" in inspect.describe(dataset)
    views = [VIEW, TextView(length=6)]
    with loader(dataset, views=views, batch_size=32, tokenizer=tokenizer, texts="label") as batches:
        batch = batches.batch(0)
    names = tokenizer.encode(list(dataset.label_names), 6)
    assert set(batch.labels.tolist()) == {0, 1}
    assert batch.labels.dtype == np.int32
    np.testing.assert_array_equal(batch.inputs["text"], names[batch.labels])


ROWS = [
    {"path": "a.png", "labels": ["x", "z"], "captions": ["one"]},
    {"path": "b.png", "labels": ["y"], "captions": ["two", "three"]},
    {"path": "c.png", "labels": [], "captions": ["four"]},
    {"path": "d.png", "labels": ["z"], "captions": []},
]


def test_several_labels_one_and_none_as_numbers_and_as_bits(tmp_path, tokenizer):
    dataset = built(tmp_path, ROWS)
    assert (dataset.num_captioned("train"), dataset.num_labelled("train")) == (3, 3)
    assert dataset.num_single_label("train") == 2
    wanted = {"a.png": [1, 0, 1], "b.png": [0, 1, 0], "c.png": [0, 0, 0], "d.png": [0, 0, 1]}
    numbers = {"a.png": -1, "b.png": 1, "c.png": -1, "d.png": 2}
    names = [example.id for example in dataset.examples("train")]
    bits = loader(dataset, labels="multi_hot", batch_size=8).batch(0)
    assert bits.labels.dtype == np.bool_
    assert bits.labels.tolist() == [wanted[names[i]] for i in bits.index]
    one = loader(dataset, batch_size=8).batch(0)
    assert one.labels.dtype == np.int32
    assert one.labels.tolist() == [numbers[names[i]] for i in one.index]
    whole = next(loader(dataset, labels="multi_hot").all(4))
    assert whole.labels.tolist() == [wanted[name] for name in names]
    options = {"views": [TextView(length=4)], "tokenizer": tokenizer}
    with pytest.raises(ValueError, match=r"d\.png has no caption; use texts=\"label\""):
        loader(dataset, **options)
    with pytest.raises(ValueError, match=r"not fully labelled: c\.png has no label; use texts="):
        loader(dataset, texts="label", **options)


def test_bits_of_no_labels_are_refused(tmp_path):
    dataset = built(tmp_path, [{"path": "a.png"}])
    with pytest.raises(ValueError, match="has no labels to give as 'multi_hot'"):
        loader(dataset, labels="multi_hot")
    assert loader(dataset).batch(0).labels is None


def test_opening_a_loader_reads_no_example(dataset, tokenizer, monkeypatch):
    """What it costs is the manifest's, whatever the number of examples."""
    views = [VIEW, TextView(length=8)]
    with monkeypatch.context() as patch:
        patch.setattr(os, "pread", None)
        patch.setattr(os, "preadv", None)
        opened = loader(dataset, views=views, tokenizer=tokenizer, labels="multi_hot")
    assert opened.batch(0).inputs["image"].shape == (6, 4, 4, 3)
