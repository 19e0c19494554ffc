"""Writes tools/upgrades/VERSION: a copy of everything that this version keeps on disk, small.

PYTHONPATH=tools ./imp python -m upgrades.write

Run it once for each version that is released, and commit what it wrote: upgrades_test.py opens the
copies of all versions. A copy that was released is never written again; that is refused.
"""

import asyncio
import contextlib
import io
import json
import shutil
import tempfile
from pathlib import Path

import numpy as np
import sentencepiece
from PIL import Image

import imp_data
from imp_data import own_tokenizer
from imp_data.datasets import Dataset
from imp_data.pipelines.build import build_dataset
from imp_data.samples.clips import write_mp4
from imp_data.stores.rows import Rows
from imp_data.tokenizer import Tokenizer
from imp_eval.inference import Encoder
from imp_eval.open_store import open_store
from imp_eval.vector_store import CollectionConfig, Item
from imp_model import bundle
from imp_train.compile import use_persistent_cache
from imp_train.train import train
from upgrades.contents import CLIPS, COLLECTION, HERE, PICTURES, contents
from upgrades.experiment import AUDIO, IMAGE, SAVED_AT, VIDEO, experiment

_COLOURS = {"red": (200, 30, 20), "blue": (20, 40, 190)}
# What a run leaves that nobody goes on from.
_UNUSED = ("tensorboard", "plots", "sessions.json")


def write(target: Path) -> None:
    """Everything below `target`. Raises FileExistsError where it is there already."""
    if target.exists():
        raise FileExistsError(f"{target} is there: a released copy is never written again")
    with (
        tempfile.TemporaryDirectory(prefix="imp-upgrades-") as name,
        contextlib.chdir(name),  # no path of this machine gets into what is written
    ):
        use_persistent_cache(Path("compiled").absolute())
        data = Path("data")
        _pictures(data / PICTURES)
        _clips(data / CLIPS)
        run = Path("run")
        train(experiment(data), run, progress=False, stop_after=SAVED_AT)
        whole = Path("whole")
        train(experiment(data), whole, progress=False)
        (whole / "bundle").rename("bundle")
        asyncio.run(_collection(Path("collections")))
        for unused in _UNUSED:
            _remove(run / unused)
        for folder in ("whole", "files", "compiled"):
            _remove(Path(folder))
        with tempfile.TemporaryDirectory() as scratch:
            found = contents(Path.cwd(), Path(scratch))
        Path("expected.json").write_text(json.dumps(found, indent=1) + "\n")
        shutil.copytree(Path.cwd(), target)


def _pictures(out: Path) -> None:
    """Six captioned pictures of two classes, in both formats, with a tokenizer of its own."""
    rng = np.random.default_rng(0)
    for colour, value in _COLOURS.items():
        for thing in ("boat", "house", "tree"):
            path = Path("files/pictures", colour, f"{colour} {thing}.png")
            path.parent.mkdir(parents=True, exist_ok=True)
            noise = rng.integers(-20, 21, (20, 24, 3))
            Image.fromarray((np.array(value) + noise).astype(np.uint8)).save(path)
    dataset = build_dataset(
        source="folder:files/pictures",
        out=out,
        views=[IMAGE],
        formats=("tensorstore", "tfrecord"),
        caption_from="stem",
        num_threads=1,
        progress=False,
    )
    texts = [text for example in dataset.examples("train") for text in example.texts]
    own_tokenizer.give(out, _tokenizer(texts))


def _clips(out: Path) -> None:
    """Three clips with sound."""
    rng = np.random.default_rng(1)
    folder = Path("files/clips")
    folder.mkdir(parents=True)
    for number in range(3):
        frames = list(rng.integers(0, 256, (4, 32, 32, 3), np.uint8))
        time = np.arange(16_000) / 16_000
        tone = 0.3 * np.sin(2 * np.pi * 220 * 2**number * time)
        path = folder / f"tone-{number}.mp4"
        write_mp4(path, frames, 4, waveform=tone.astype(np.float32), sample_rate=16_000)
    build_dataset(
        source="folder:files/clips",
        out=out,
        views=[VIDEO, AUDIO],
        num_threads=1,
        progress=False,
    )


def _tokenizer(texts: list[str]) -> Tokenizer:
    """As imp-data trains one, but for the tables of Unicode's normal forms: 240 kB."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts),
        model_writer=model,
        vocab_size=280,
        hard_vocab_limit=False,
        byte_fallback=True,
        normalization_rule_name="identity",
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        num_threads=1,
        minloglevel=2,
    )
    return Tokenizer(model.getvalue())


async def _collection(place: Path) -> None:
    """The pictures' embeddings, changed more than once: several of LanceDB's versions."""
    encoder = Encoder(bundle.load(Path("bundle")), batch_size=4)
    dataset = Dataset.load(Path("data") / PICTURES)
    rows = Rows(dataset, "train", IMAGE).read(np.arange(6))
    vectors = encoder.embed("image", rows, ("image", "text"))
    items = [
        Item(id=example.id, vector=vector, metadata={"place": n, "even": n % 2 == 0, "kind": "png"})
        for n, (example, vector) in enumerate(zip(dataset.examples("train"), vectors))
    ]
    store = await open_store(place)
    try:
        collection = await store.create(
            CollectionConfig(
                name=COLLECTION,
                modality="image",
                query_modality="text",
                dim=encoder.dim,
                model_digest=encoder.digest,
            )
        )
        await collection.upsert(items[:4])
        await collection.upsert(items[2:])
        await collection.delete([items[0].id])
    finally:
        await store.close()


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


if __name__ == "__main__":
    write(HERE / imp_data.__version__)
