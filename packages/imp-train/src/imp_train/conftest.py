"""Two tiny real datasets, a tokenizer, and an experiment on them that compiles two programs."""

import dataclasses

import numpy as np
import pytest
from PIL import Image

from imp_data.augment import Augment
from imp_data.pipelines.build import build_dataset
from imp_data.tokenizer import Tokenizer
from imp_data.views import ImageView, TextView
from imp_model.config import ModelConfig
from imp_train.compile import use_persistent_cache
from imp_train.config import Experiment, OptimizerConfig
from imp_train.objectives import NCE, SCE
from imp_train.sampler import Multinomial
from imp_train.tasks import Task, Variant

IMAGE, TEXT = ImageView(size=16), TextView(length=8)
MODEL = ModelConfig(
    width=16,
    mlp=24,
    num_heads=2,
    num_dense_layers=1,
    num_moe_layers=1,
    num_experts=2,
    patch=(4, 8, 8),
    audio_patch=(8, 8),
    vocab_size=320,
    text_positions=16,
    dtype="float32",
)


def tiny(data, *, minutes=0.0, seed=0, **changes):
    """`minutes` is there for the command line; it plays no part."""
    tasks = (
        Task(
            name="pictures",
            dataset=data / "labelled",
            objective=NCE(source="image", target="text"),
            variants=(Variant(views=(IMAGE, TEXT), batch_size=4),),
            augment=Augment(crop_scale=(0.8, 1.0)),
        ),
        Task(
            name="classes",
            dataset=data / "labelled",
            objective=SCE(modality="image", classifier="colours"),
            variants=(Variant(views=(IMAGE,), batch_size=4),),
        ),
    )
    experiment = Experiment(
        name="tiny",
        model=MODEL,
        tasks=tasks,
        steps=6,
        optimizer=OptimizerConfig(peak_rate=1e-2, warmup_steps=2),
        sampler=Multinomial(),
        views=(IMAGE, TEXT),
        tokenizer=data / "tokenizer.model",
        seed=seed,
        checkpoint_every=3,
        log_every=2,
    )
    return dataclasses.replace(experiment, **changes)


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """labelled: 2 classes of 6 captioned images; plain: 5 without labels."""
    root = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    names = [f"{c}/{c}-{thing}" for c in ("red", "blue") for thing in "abcdef"]
    for name in [f"labelled/{name}" for name in names] + [f"plain/thing-{i}" for i in range(5)]:
        path = root / "source" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (20, 24, 3), np.uint8)).save(path)
    for name in ("labelled", "plain"):
        build_dataset(
            source=f"folder:{root / 'source' / name}",
            out=root / name,
            views=[IMAGE],
            caption_from="stem",
            num_threads=1,
            progress=False,
        )
    Tokenizer.train([name.split("/")[1] for name in names], root / "tokenizer.model", 300)
    return root


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    """Each program is compiled once a test run."""
    path = tmp_path_factory.mktemp("compiled")
    use_persistent_cache(path)
    return path


@pytest.fixture(scope="session")
def make(data, cache):
    return lambda **changes: tiny(data, **changes)


@pytest.fixture(scope="session")
def whole(make, tmp_path_factory):
    """The tiny experiment trained in one go."""
    from imp_train.train import train

    workdir = tmp_path_factory.mktemp("whole")
    return workdir, train(make(), workdir, progress=False)
