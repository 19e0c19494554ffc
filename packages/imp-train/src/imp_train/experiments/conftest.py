"""Two of the paper's sets in miniature: labelled pictures, and clips of several labels."""

import json

import numpy as np
import pytest
from PIL import Image

from imp_data.pipelines.build import build_dataset
from imp_data.samples.clips import write_mp4
from imp_data.tokenizer import Tokenizer
from imp_train.experiments.resolutions import AUDIO, Resolutions

CLASSES = ("red_fox", "blue_jay", "green_frog")
SMALL = Resolutions(batch=8, size=32, several=True)


@pytest.fixture(scope="session")
def corpora(tmp_path_factory):
    """A data folder: i21k, nine pictures of one label each; audioset, eight clips of one or two."""
    root = tmp_path_factory.mktemp("corpora")
    rng = np.random.default_rng(0)
    for number in range(9):
        path = root / "pictures" / CLASSES[number % 3] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (40, 40, 3), np.uint8)).save(path)
    lines = []
    (root / "clips").mkdir()
    for number in range(8):
        frames = list(rng.integers(0, 256, (16, 32, 32, 3), np.uint8))
        wave = rng.normal(0, 0.1, 16_000).astype(np.float32)
        path = root / "clips" / f"{number}.mp4"
        write_mp4(path, frames, 12, waveform=wave, sample_rate=16_000)
        labels = [("bark", "hiss", "speech")[k] for k in {number % 3, number % 2}]
        lines.append(json.dumps({"path": path.name, "labels": labels}))
    (root / "clips" / "list.jsonl").write_text("\n".join(lines))
    build_dataset(
        source=f"folder:{root / 'pictures'}",
        out=root / "i21k",
        views=[SMALL.image(), SMALL.image(double=True)],
        num_threads=1,
        progress=False,
    )
    build_dataset(
        source=f"jsonl:{root / 'clips' / 'list.jsonl'}",
        out=root / "audioset",
        views=[SMALL.video(), SMALL.video(half=True), AUDIO],
        num_threads=1,
        progress=False,
    )
    words = [*CLASSES, "bark", "hiss", "speech", "a photo of", "the sound of", "a recording of"]
    Tokenizer.train(words, root / "tokenizer.model", 300)
    return root
