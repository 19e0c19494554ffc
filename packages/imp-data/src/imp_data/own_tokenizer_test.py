import shutil

import numpy as np
import pytest
from PIL import Image

from imp_data import own_tokenizer, verify
from imp_data.datasets import Dataset
from imp_data.loader import Loader
from imp_data.pipelines import build
from imp_data.pipelines import shard as shard_lib
from imp_data.tokenizer import Tokenizer
from imp_data.views import ImageView, TextView


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    return Tokenizer.train(["quite other words"], tmp_path_factory.mktemp("t") / "t.model", 280)


@pytest.fixture
def dataset(greys, grey_tokenizer, tmp_path):
    shutil.copytree(greys.path, tmp_path / "own")
    own_tokenizer.give(tmp_path / "own", grey_tokenizer)
    return Dataset.load(tmp_path / "own")


def tokens(dataset, tokenizer=None):
    with Loader(
        dataset,
        split="train",
        views=[TextView(length=6)],
        batch_size=8,
        seed=0,
        tokenizer=tokenizer,
    ) as loader:
        return loader.batch(0).inputs["text"]


def test_words_are_read_by_the_dataset_s_own(dataset, greys, grey_tokenizer, other):
    assert verify.verify(dataset.path) == []
    assert (tokens(dataset) == tokens(greys, grey_tokenizer)).all()
    assert (tokens(dataset, grey_tokenizer) == tokens(dataset)).all()
    # Else the test below would pass whatever is compared.
    assert (tokens(greys, other) != tokens(greys, grey_tokenizer)).any()


def test_another_is_refused_until_it_is_given(dataset, other):
    with pytest.raises(
        ValueError, match=r"^dataset .* holds tokenizer \w{8}, not \w{8}, .*--model"
    ):
        tokens(dataset, other)
    own_tokenizer.give(dataset.path, other)
    assert np.isin(1, tokens(Dataset.load(dataset.path), other))


def test_without_any_the_loader_says_how_to_get_one(greys):
    with pytest.raises(ValueError, match="imp-data tokenizer --data"):
        tokens(greys)


@pytest.mark.parametrize("damage", ["changed", "missing"])
def test_a_damaged_one_is_named_and_not_used(dataset, damage):
    file = dataset.path / "tokenizer.model"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.unlink() if damage == "missing" else file.write_bytes(data)
    (problem,) = verify.verify(dataset.path)
    assert problem.startswith(f"{damage}: tokenizer.model")
    with pytest.raises(ValueError, match="missing or damaged"):
        tokens(dataset)


def test_one_that_the_manifest_does_not_know_is_extra(greys, tmp_path):
    shutil.copytree(greys.path, tmp_path / "own")
    (tmp_path / "own/tokenizer.model").write_bytes(b"x")
    assert verify.verify(tmp_path / "own") == ["extra: tokenizer.model"]


def test_a_build_that_goes_on_keeps_it_and_one_that_replaces_does_not(
    grey_tokenizer, tmp_path, monkeypatch
):
    def picture(number):
        path = tmp_path / f"source/train/a/grey-{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4), (number, 0, 0)).save(path)

    def run(**options):
        return build.build_dataset(
            source=f"folder:{tmp_path}/source",
            out=tmp_path / "out",
            views=[ImageView(size=4)],
            caption_from="stem",
            progress=False,
            **options,
        )

    def killed(job):
        raise KeyboardInterrupt

    for number in range(4):
        picture(number)
    own_tokenizer.give(run().path, grey_tokenizer)
    assert own_tokenizer.holds(run(), grey_tokenizer)
    picture(9)
    with monkeypatch.context() as patch:
        patch.setattr(build.runner, "for_each", lambda *_: killed(None))
        with pytest.raises(KeyboardInterrupt):
            run(extend=True)
    assert shard_lib.read_receipt(tmp_path / "out", "train-00001") is None
    extended = run(extend=True)
    assert extended.num_examples == {"train": 5}
    assert own_tokenizer.load(extended).model == grey_tokenizer.model
    assert verify.verify(extended.path) == []
    replaced = run(overwrite=True, seed=1)
    assert own_tokenizer.load(replaced) is None
    assert verify.verify(replaced.path) == []
