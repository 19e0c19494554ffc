"""What a copy holds, read through the code that users read it by."""

import asyncio
import contextlib
import hashlib
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from imp_data import own_tokenizer, records, verify
from imp_data.datasets import Dataset
from imp_data.stores.rows import Rows
from imp_data.stores.tfrecord import TFRecordReader
from imp_eval.inference import Encoder
from imp_eval.open_store import open_store
from imp_model import bundle
from imp_train import inspect, metrics
from imp_train.train import train
from upgrades.experiment import SAVED_AT, TEXT, experiment

HERE = Path(__file__).parent
PICTURES, CLIPS, COLLECTION = "pictures", "clips", "pictures"


def contents(copy: Path, scratch: Path) -> dict[str, Any]:
    """As JSON: texts, numbers and digests, which stay equal for ever; floats, but for rounding.

    What is opened for writing is copied to `scratch`, an empty folder, first.
    """
    loaded = bundle.load(copy / "bundle")
    encoder = Encoder(loaded, batch_size=4)
    embeddings = _embeddings(copy, encoder)
    return {
        "datasets": {name: _dataset(copy / "data" / name) for name in (PICTURES, CLIPS)},
        "bundle": _digest(bundle.flatten(loaded.model.parts)),
        "embeddings": embeddings,
        "run": _run(copy, scratch),
        "collection": asyncio.run(_collection(copy, scratch, embeddings)),
    }


def _dataset(path: Path) -> dict[str, Any]:
    """Every example, with a digest of its arrays; of TFRecord files too."""
    problems = verify.verify(path)
    dataset = Dataset.load(path)
    found = []
    for number, example in enumerate(dataset.examples("train")):
        at = np.array([number])
        arrays = {v.key: Rows(dataset, "train", v).read(at)[0] for v in dataset.views}
        found.append(
            {
                "id": example.id,
                "texts": list(example.texts),
                "labels": list(example.labels),
                "arrays": _digest(arrays),
            }
        )
    files = sorted((path / "tfrecord").glob("train-*"))
    kept = [records.from_bytes(data) for file in files for data in TFRecordReader(file)]
    return {
        "problems": problems,
        "labels": list(dataset.label_names),
        "examples": found,
        "records": [
            {
                "id": record.id,
                "texts": list(record.texts),
                "labels": list(record.labels),
                "arrays": _digest(record.arrays),
            }
            for record in kept
        ],
    }


def _embeddings(copy: Path, encoder: Encoder) -> dict[str, list[list[float]]]:
    """Of every example, by modality, in the space of the first that it is compared with."""
    found: dict[str, list[list[float]]] = {}
    for name in (PICTURES, CLIPS):
        dataset = Dataset.load(copy / "data" / name)
        index = np.arange(dataset.num_examples["train"])
        inputs: dict[str, np.ndarray] = {}
        inputs |= {v.modality: Rows(dataset, "train", v).read(index) for v in dataset.views}
        if tokenizer := own_tokenizer.load(dataset):
            texts = [example.texts[0] for example in dataset.examples("train")]
            inputs["text"] = tokenizer.encode(texts, TEXT.length)
        for modality, arrays in inputs.items():
            pair = (modality, encoder.targets(modality)[0])
            found[modality] = encoder.embed(modality, arrays, pair).tolist()
    return found


def _run(copy: Path, scratch: Path) -> dict[str, Any]:
    """The checkpoint to the bit, and what the step after it finds."""
    # Where it was trained: paths to the data are part of a run.
    shutil.copytree(copy / "data", scratch / "data", copy_function=shutil.copyfile)
    shutil.copytree(copy / "run", scratch / "run", copy_function=shutil.copyfile)
    with contextlib.chdir(scratch):
        _, digest = inspect.digest(Path("run"), moments=True)
        done = train(experiment(Path("data")), Path("run"), progress=False, stop_after=SAVED_AT + 1)
        last = metrics.read(Path("run"))[-1]
    names = ("step", "task", "loss", "grad_norm")
    return {"saved": digest, "stopped": done.step, "next": {name: last[name] for name in names}}


async def _collection(
    copy: Path, scratch: Path, embeddings: Mapping[str, list[list[float]]]
) -> dict[str, Any]:
    """Every item, and what is found by the words of the first caption."""
    shutil.copytree(copy / "collections", scratch / "collections", copy_function=shutil.copyfile)
    store = await open_store(scratch / "collections")
    try:
        collection = await store.open(COLLECTION)
        page = await collection.scan("", 100)
        hits = await collection.search(np.array(embeddings["text"][0], np.float32), 3)
        return {
            "names": await store.names(),
            "count": await collection.count(),
            "items": [[key, dict(metadata)] for key, metadata in page.items],
            "hits": [[hit.id, hit.score] for hit in hits],
        }
    finally:
        await store.close()


def _digest(arrays: Mapping[str, Any]) -> str:
    total = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        total.update(f"{name} {array.dtype} {array.shape}\n".encode())
        total.update(array.tobytes())
    return total.hexdigest()
