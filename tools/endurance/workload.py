"""A training so small that its steps take milliseconds, on real files through the real pipeline."""

import pathlib

import numpy as np
from PIL import Image

from imp_data import own_tokenizer
from imp_data.pipelines.build import build_dataset
from imp_data.tokenizer import Tokenizer
from imp_data.views import ImageView, TextView
from imp_model.config import ModelConfig
from imp_train.config import Experiment, OptimizerConfig
from imp_train.objectives import NCE, SCE
from imp_train.sampler import Multinomial
from imp_train.tasks import Task, Variant

IMAGE, TEXT = ImageView(size=16), TextView(length=8)
_COLOURS = ("red", "green", "blue")


def write(folder: pathlib.Path) -> pathlib.Path:
    """FOLDER/colours: a dataset of 96 pictures to train on and 24 held out, in several shards."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 96), ("test", 24)):
        for number in range(count):
            name = _COLOURS[number % 3]
            pixels = rng.integers(0, 150, (20, 20, 3), np.uint8)
            pixels[..., number % 3] += 100
            path = folder / "pictures" / split / name / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)
    out = folder / "colours"
    build_dataset(
        source=f"folder:{folder / 'pictures'}",
        out=out,
        views=[IMAGE],
        shard_examples=24,
        progress=False,
    )
    own_tokenizer.give(out, Tokenizer.train(["a picture of red", "green", "blue"], None, 290))
    return out


def experiment(data: pathlib.Path, *, steps: int = 10_000) -> Experiment:
    """Two tasks by turns, experts among the layers, saved often."""
    variants = {
        "text": Variant(views=(IMAGE, TEXT), batch_size=8),
        "class": Variant(views=(IMAGE,), batch_size=8),
    }
    model = ModelConfig(
        width=16,
        mlp=32,
        num_heads=2,
        num_dense_layers=1,
        num_moe_layers=1,
        num_experts=2,
        patch=(4, 8, 8),
        vocab_size=300,
        text_positions=16,
        dtype="float32",
    )
    return Experiment(
        name="endurance",
        model=model,
        tasks=(
            Task(
                name="text",
                dataset=data,
                objective=NCE(
                    source="image", target="text", texts="label", prompts=("{}", "a picture of {}")
                ),
                variants=(variants["text"],),
            ),
            Task(
                name="class",
                dataset=data,
                objective=SCE(modality="image", classifier="colours"),
                variants=(variants["class"],),
            ),
        ),
        steps=steps,
        optimizer=OptimizerConfig(peak_rate=1e-3, warmup_steps=20),
        sampler=Multinomial(),
        views=(IMAGE, TEXT),
        tokenizer=data / own_tokenizer.FILE,
        checkpoint_every=50,
        log_every=10,
    )
