"""The whole path on real files: class folders, Beam, AGD, bundle, gRPC, retrieval above chance."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from imp_data.cli import corpus
from imp_data.pipelines import build
from imp_data.tokenizer import Tokenizer
from imp_data.views import ImageView, TextView
from imp_eval.client import Client, ItemFailure, read_file, text
from imp_eval.evaluation.run import evaluate_bundle
from imp_eval.evaluation.spec import Spec
from imp_model import bundle
from imp_model.config import size
from imp_train import metrics
from imp_train.config import Experiment, OptimizerConfig
from imp_train.objectives import NCE, SCE
from imp_train.sampler import Stratified
from imp_train.tasks import Task, Variant
from imp_train.train import train
from quickstart import stages

COLOURS = {
    "red": (214, 40, 40),
    "green": (46, 160, 67),
    "blue": (38, 84, 200),
    "yellow": (240, 210, 60),
    "white": (245, 245, 245),
    "black": (18, 18, 18),
}


def draw_files(root: Path) -> None:
    """Ellipses of one colour on grey, as PNG and JPEG class folders."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 24), ("test", 6)):
        for name, colour in COLOURS.items():
            folder = root / split / name
            folder.mkdir(parents=True)
            for i in range(count):
                picture = Image.new("RGB", (48, 40), (128, 128, 128))
                x, y = rng.integers(0, 12, 2)
                box = (int(x), int(y), int(x) + 30, int(y) + 26)
                ImageDraw.Draw(picture).ellipse(box, fill=colour)
                picture.save(folder / f"{i}.{'png' if i % 2 else 'jpg'}")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained run on files written a moment ago."""
    root = tmp_path_factory.mktemp("end-to-end")
    draw_files(root / "files")
    image, words = ImageView(size=32), TextView(length=8)
    dataset = build.build_dataset(
        source=f"folder:{root / 'files'}",
        out=root / "data" / "colours",
        views=[image],
        formats=("tensorstore", "tfrecord"),
        progress=False,
    )
    assert dataset.num_examples == {"train": 24 * len(COLOURS), "test": 6 * len(COLOURS)}
    Tokenizer.train(corpus([dataset]), root / "data" / "tokenizer.model", 300)
    small = dataclasses.replace(
        size("imp-moe-tiny"),
        width=32,
        mlp=64,
        num_heads=2,
        num_dense_layers=1,
        num_moe_layers=1,
        vocab_size=512,
    )
    experiment = Experiment(
        name="colours",
        model=small,
        tasks=(
            Task(
                name="names",
                dataset=dataset.path,
                objective=NCE(
                    source="image", target="text", texts="label", prompts=("{}", "a {} blob")
                ),
                variants=(Variant(views=(image, words), batch_size=24),),
                weight=2,
            ),
            Task(
                name="classes",
                dataset=dataset.path,
                objective=SCE(modality="image", classifier="colours"),
                variants=(Variant(views=(image,), batch_size=24),),
                weight=1,
            ),
        ),
        steps=90,
        optimizer=OptimizerConfig(peak_rate=3e-3, warmup_steps=10),
        sampler=Stratified(),
        views=(image, words),
        tokenizer=root / "data" / "tokenizer.model",
        checkpoint_every=50,
    )
    summary = train(experiment, root / "run", progress=False)
    assert summary.finished
    return root


def test_each_task_learns(run: Path) -> None:
    rows = {row["name"]: row for row in metrics.summary(metrics.read(run / "run"))}
    assert set(rows) == {"names", "classes"}
    for row in rows.values():
        assert row["loss_last"] < 0.7 * row["loss_first"], row


def test_the_service_finds_held_out_files(run: Path) -> None:
    files = sorted((run / "files" / "test").rglob("*.*"))
    with (
        stages.serve(run / "run" / "bundle", run / "compiled") as address,
        Client(address, connect_timeout=600) as client,
    ):
        inputs = [read_file(path) for path in files]
        classes = client.classify(inputs, list(COLOURS), top_k=1)
        guesses = [None if isinstance(c, ItemFailure) else c[0][0] for c in classes]
        right = np.mean([g == path.parent.name for g, path in zip(guesses, files, strict=True)])
        assert right > 3 / len(COLOURS), guesses

        client.create_collection("files", "image", "text")
        assert client.upsert("files", dict(zip(map(str, files), inputs, strict=True))) == {}
        hits = {name: client.search("files", text(name), k=6) for name in COLOURS}
        precision = np.mean(
            [Path(hit.id).parent.name == name for name, found in hits.items() for hit in found]
        )
        assert precision > 2 / len(COLOURS), hits


def test_the_evaluation_finds_what_was_learned(run: Path) -> None:
    """On the files and on the shards made of them, which is all the same."""
    found = evaluate_bundle(
        bundle.load(run / "run" / "bundle"),
        [
            Spec.parse(f"files=folder:{run / 'files'}"),
            Spec.parse(f"shards=dataset:{run / 'data' / 'colours'}"),
        ],
        path="bundle",
        tasks=("zero-shot", "linear-probe", "knn"),
        progress=False,
    )
    values = {(s.benchmark, s.task, s.metric): s for s in found.scores}
    for task in ("zero-shot", "linear-probe", "knn"):
        files, shards = (values[name, task, "top-1"] for name in ("files", "shards"))
        assert files.value == pytest.approx(shards.value)
        assert files.n == shards.n == 6 * len(COLOURS)
        assert files.low > 2 / len(COLOURS), files


def test_a_finished_run_is_reused(run: Path) -> None:
    index = json.loads((run / "run" / "bundle" / "bundle.json").read_text())
    assert index["metadata"]["step"] == 90
    assert not list((run / "run").glob(".bundle-*"))
