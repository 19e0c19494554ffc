"""Small benchmarks of real files, and a bundle pooled."""

import json
import pathlib

import pytest

from imp_data.tokenizer import Tokenizer
from imp_eval.conftest import mp4, png, wav
from imp_eval.evaluation.encodings import Encodings
from imp_eval.evaluation.intervals import Bootstrap
from imp_eval.evaluation.pooling import PooledEncoder
from imp_eval.evaluation.tasks import Scorer
from imp_model import bundle


@pytest.fixture(scope="session")
def pooled(bundle_path, cache) -> PooledEncoder:
    return PooledEncoder(bundle.load(bundle_path), batch_size=8)


@pytest.fixture(scope="session")
def scorer(pooled, bundle_path) -> Scorer:
    tokenizer = Tokenizer.load(bundle.load(bundle_path).tokenizer_path)
    encodings = Encodings(encoder=pooled, tokenizer=tokenizer)
    return Scorer(encodings=encodings, bootstrap=Bootstrap(num_resamples=50))


@pytest.fixture(scope="session")
def pictures(tmp_path_factory) -> pathlib.Path:
    """Class folders, 12 pictures to train on and 7 to test."""
    root = tmp_path_factory.mktemp("pictures")
    for split, count in (("train", 12), ("test", 7)):
        for i in range(count):
            path = root / split / ("red-thing", "blue_thing", "green")[i % 3] / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(png(i + 100 * (split == "test")))
    return root


@pytest.fixture(scope="session")
def clips(tmp_path_factory) -> pathlib.Path:
    """A manifest of six silent videos and their captions, two of which are the same."""
    root = tmp_path_factory.mktemp("clips")
    words = ["a red thing", "a blue thing", "a red thing", "word 1", "word 2", "word 3"]
    rows = [
        {"path": f"{i}.mp4", "captions": [w, f"word {i} of a thing"]} for i, w in enumerate(words)
    ]
    for i in range(6):
        (root / f"{i}.mp4").write_bytes(mp4(i))
    (root / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return root


@pytest.fixture(scope="session")
def sounds(tmp_path_factory) -> pathlib.Path:
    """ESC-50 with two folds of two categories."""
    root = tmp_path_factory.mktemp("esc50")
    (root / "meta").mkdir()
    (root / "audio").mkdir()
    lines = ["filename,fold,target,category,esc10,src_file,take"]
    for i in range(12):
        (root / f"audio/{i}.wav").write_bytes(wav(i))
        lines.append(f"{i}.wav,{1 + i % 3},{i % 2},{('dog', 'sea_waves')[i % 2]},False,x,A")
    (root / "meta/esc50.csv").write_text("\n".join(lines) + "\n")
    return root
