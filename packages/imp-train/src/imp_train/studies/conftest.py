"""A dataset with held-out examples and a tokenizer of its own, and a study too small to learn."""

import dataclasses

import numpy as np
import pytest
from PIL import Image

from imp_data import own_tokenizer
from imp_data.pipelines.build import build_dataset
from imp_data.tokenizer import Tokenizer
from imp_data.views import ImageView
from imp_train.studies.corpora import Corpora
from imp_train.studies.objectives import objectives
from imp_train.studies.scale import Scale

SMALL = Scale(steps=3, batch=4, model="imp-moe-tiny")


@pytest.fixture(scope="session")
def colours(tmp_path_factory):
    """16 pictures to train on and 8 held out, red or blue."""
    root = tmp_path_factory.mktemp("colours")
    rng = np.random.default_rng(0)
    for split, count in (("train", 16), ("test", 8)):
        for number in range(count):
            pixels = rng.integers(0, 120, (24, 24, 3), np.uint8)
            pixels[..., 0 if number % 2 else 2] += 130
            name = ("blue", "red")[number % 2]
            path = root / "pictures" / split / name / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)
    build_dataset(
        source=f"folder:{root / 'pictures'}",
        out=root / "data" / "colours",
        views=[ImageView(size=32)],
        num_threads=1,
        progress=False,
    )
    words = ["a picture of red", "an image of blue", "red", "blue"]
    tokenizer = Tokenizer.train(words, None, 300)
    own_tokenizer.give(root / "data" / "colours", tokenizer)
    return root / "data"


@pytest.fixture(scope="session")
def study(colours):
    """Two of the arms of `objectives`."""
    whole = objectives(Corpora.find([colours]), SMALL)
    arms = {name: whole.arms[name] for name in ("alternating", "softmax")}
    return dataclasses.replace(whole, arms=arms)
