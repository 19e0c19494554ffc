import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from imp_data import inspect
from imp_data.augment import Augment
from imp_data.datasets import Dataset
from imp_data.loader import Loader
from imp_data.order import Shuffle
from imp_data.pipelines import build
from imp_data.tokenizer import Tokenizer
from imp_data.views import ImageView, TextView

VIEW = ImageView(size=4)
AUGMENT = Augment(crop_scale=(0.8, 1.0), brightness=0.15, contrast=0.25)
COUNT = 37


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Dataset:
    """37 pictures, each of one grey that its caption names; one broken file leaves a gap."""
    root = tmp_path_factory.mktemp("loader")
    for i in range(COUNT):
        folder = root / "source" / "train" / ("even", "odd")[i % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4), (i * 6, 0, 0)).save(folder / f"grey-{i}.png")
    (root / "source/train/odd/broken.png").write_bytes(b"x")
    return build.build_dataset(
        source=f"folder:{root}/source",
        out=root / "out",
        views=[VIEW],
        caption_from="stem",
        shard_examples=5,
        progress=False,
    )


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    texts = [f"grey {i}" for i in range(COUNT)]
    return Tokenizer.train(texts, tmp_path_factory.mktemp("t") / "t.model", 300)


def loader(dataset, **options):
    options = {"split": "train", "views": [VIEW], "batch_size": 6, "seed": 0} | options
    return Loader(dataset, **options)


def same(a, b):
    assert a.inputs.keys() == b.inputs.keys()
    assert all((a.inputs[key] == b.inputs[key]).all() for key in a.inputs)
    assert (a.index == b.index).all()
    assert (a.labels == b.labels).all()


@settings(deadline=None)
@given(count=st.integers(1, 3000), seed=st.integers(0, 2**63), epoch=st.integers(0, 10**6))
def test_an_epoch_has_each_example_once(count, seed, epoch):
    order = Shuffle(num_examples=count, seed=seed)
    places = epoch * count + np.arange(count)
    assert (np.sort(order(places)) == np.arange(count)).all()


def test_epochs_and_seeds_differ_and_places_are_even():
    n = 1000
    orders = [Shuffle(num_examples=n, seed=s)(np.arange(3 * n)).reshape(3, n) for s in (0, 1)]
    for a, b in ((orders[0][0], orders[0][1]), (orders[0][0], orders[1][0])):
        assert (a == b).mean() < 0.01
        assert abs(np.corrcoef(a, b)[0, 1]) < 0.1
    firsts = Shuffle(num_examples=8, seed=3)(np.arange(4000) * 8)
    assert np.abs(np.bincount(firsts, minlength=8) - 500).max() < 100


@settings(deadline=None, max_examples=25)
@given(
    hosts=st.sampled_from([1, 2, 3, 4, 6]),
    step=st.integers(0, 10**9),
    seed=st.integers(0, 1000),
    cached=st.booleans(),
)
def test_hosts_together_are_one_host(dataset, tokenizer, hosts, step, seed, cached):
    options = {
        "views": [VIEW, TextView(length=8)],
        "batch_size": 12,
        "seed": seed,
        "tokenizer": tokenizer,
        "augment": AUGMENT,
        "cache_bytes": 1 << 30 if cached else 0,
    }
    whole = loader(dataset, **options).batch(step)
    parts = [
        loader(dataset, host_index=host, num_hosts=hosts, **options).batch(step)
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
        ({"num_hosts": 4}, "multiple of 4 hosts"),
        ({"host_index": 1}, "host_index 1 must be within 0 and 0"),
    ],
)
def test_what_is_wrong_is_said(dataset, options, message):
    with pytest.raises(ValueError, match=message):
        loader(dataset, **options)


def test_wrong_texts_are_said(dataset, tokenizer):
    options = {"views": [TextView(length=4)], "tokenizer": tokenizer}
    with pytest.raises(ValueError, match="where the text goes"):
        loader(dataset, prompts=("no place",), **options)


def test_an_example_of_several_labels_shows_each_of_their_names(tmp_path, tokenizer):
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    (tmp_path / "m.jsonl").write_text('{"path": "a.png", "labels": ["grey 3", "grey 12"]}\n')
    dataset = build.build_dataset(
        source=f"jsonl:{tmp_path}/m.jsonl", out=tmp_path / "out", views=[VIEW], progress=False
    )
    assert dataset.examples("train").label_sets == ((0, 1),)
    assert dataset.examples("train").labels.tolist() == [-1]
    assert "grey 12 1, grey 3 1" in inspect.describe(dataset)
    views = [VIEW, TextView(length=6)]
    with loader(dataset, views=views, batch_size=32, tokenizer=tokenizer, texts="label") as batches:
        shown = {tuple(row) for row in batches.batch(0).inputs["text"].tolist()}
    assert shown == {tuple(row) for row in tokenizer.encode(["grey 3", "grey 12"], 6).tolist()}
