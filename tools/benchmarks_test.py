"""Each benchmark runs at a small size and prints its table; no time is judged."""

import io
import pathlib
import re

import numpy as np
import pytest
from PIL import Image

from benchmarks import arms, near_duplicates, photos, synthetic, workers
from benchmarks.agd import AGD
from benchmarks.build import Build
from benchmarks.experts import Experts
from benchmarks.index import Index
from benchmarks.loader import LoaderBenchmark
from benchmarks.moe_layer import MoELayer
from benchmarks.pytorch import PyTorch
from benchmarks.remat import Remat
from benchmarks.scan import Scan
from benchmarks.serving import Serving


@pytest.fixture
def on_path(monkeypatch):
    """For the processes that a benchmark starts."""
    monkeypatch.setenv("PYTHONPATH", str(pathlib.Path(__file__).parent))


def test_the_loop_writes_the_bytes_that_the_build_writes(tmp_path, on_path):
    """Else the two would not be doing the same work."""
    from imp_data.pipelines.build import build_dataset
    from imp_data.stores.rows import Rows
    from imp_data.stores.tensorstore import ArrayReader
    from imp_data.views import ImageView

    source, view = photos.write(tmp_path / "photos", 20), ImageView(size=32)
    arms.run("benchmarks.plain_loop", source, tmp_path / "loop", 32, 1)
    built = build_dataset(
        source=f"folder:{source}", out=tmp_path / "built", views=[view], progress=False
    )
    looped = ArrayReader(tmp_path / "loop", "train", view)
    theirs = sorted(image.tobytes() for image in looped.read(np.arange(20)))
    ours = sorted(image.tobytes() for image in Rows(built, "train", view).read(np.arange(20)))
    assert ours == theirs


def test_the_build_benchmark_prints_a_ratio(tmp_path, capsys, on_path):
    asked = {"scaling": (20,), "workers": 2, "resize": True}
    Build(photos=tmp_path, images=20, size=32, rounds=1, **asked).run()
    printed = capsys.readouterr().out
    assert re.search(r"beam / loop: \d+\.\d+\n\n\| images .*\n.*\n\| 20 \|", printed)
    assert re.search(r"throughput of 2 to 1: beam \d+\.\d+, loop \d+\.\d+, counting", printed)
    assert re.search(r"\| ours \| [\d,]+ \| 1\.00 \|", printed)


def test_the_gain_of_workers_is_by_wall_time():
    one, two = ([arms.Cost(wall=wall, cpu=1) for wall in walls] for walls in ((4, 6), (2, 4)))
    assert workers.gain(one, two) == 1.75


def test_the_loader_benchmark_prints_its_tables(tmp_path, capsys):
    LoaderBenchmark(
        workdir=tmp_path, images=20, size=32, batch_size=4, batches=3, rounds=1, scale=(300,)
    ).run()
    printed = capsys.readouterr().out
    assert re.search(r"\| loader \| [\d,]+ \| 1\.00 \|", printed)
    assert re.search(r"\| tensorstore \| [\d,]+ \|", printed)
    assert re.search(r"\| 300 \| \d+\.\d+ \| \d+\.\d+ \| \d+ \|", printed)


def test_the_synthetic_dataset_is_one(tmp_path):
    from imp_data import verify
    from imp_data.datasets import Dataset
    from imp_data.loader import Loader

    path = synthetic.write(tmp_path / "synthetic", 100)
    assert verify.verify(path) == []
    dataset = Dataset.load(path)
    assert dataset.num_captioned("train") == dataset.num_single_label("train") == 100
    with Loader(dataset, split="train", views=[synthetic.VIEW], batch_size=100, seed=0) as loader:
        batch = loader.batch(0)
    assert (batch.inputs["image"][:, 0, 0, 0] == batch.index % 251).all()
    assert (batch.labels == batch.index % synthetic.NUM_LABELS).all()
    assert [e.texts for e in dataset.examples("train")][7] == (synthetic.caption(7),)


def test_the_near_duplicate_benchmark_prints_recall_and_precision(capsys):
    """Two originals are one file, so that two of five pairs found are of another."""
    files = [photos.photo(number) for number in (0, 1, 1)]
    pictures = [Image.open(io.BytesIO(data)).convert("RGB") for data in files]
    near_duplicates.measure(*near_duplicates.of_pictures("noise", pictures))
    printed = capsys.readouterr().out
    assert "1 pairs of different originals found alike: 3.3e-01 of all pairs" in printed
    assert "| mirrored | 1.000 | 0.600 |" in printed


def test_ratios_are_medians_over_rounds():
    own = [arms.Cost(wall=1, cpu=cpu) for cpu in (2.0, 9.0, 3.0)]
    other = [arms.Cost(wall=1, cpu=cpu) for cpu in (1.0, 3.0, 3.0)]
    assert arms.ratio(own, other) == 2.0
    assert arms.median_cpu(own) == 3.0


def test_the_moe_layer_benchmark_prints_its_table(capsys):
    MoELayer(width=16, experts=(2,), tokens=(8,), batch=1, rounds=1).run()
    assert re.search(r"\| 2 \| 8 \|( [\d.]+ \|){4}\n", capsys.readouterr().out)


def test_the_experts_benchmark_prints_its_table(capsys):
    Experts(models=("imp-moe-tiny",), tokens=(8,), examples=1, rounds=1, interpret="tpu").run()
    assert re.search(r"\| imp-moe-tiny \| 8 \| [\d.]+ \| [\d.]+ \|", capsys.readouterr().out)


def test_the_scan_benchmark_prints_both_layouts(capsys, on_path):
    Scan(depths=(2,), width=16, experts=2, batch=1, tokens=4, platforms=("cpu",)).run()
    assert re.search(r"\| cpu \| 2 \|( [\d.]+ \|){7}\n", capsys.readouterr().out)


def test_the_rematerialisation_benchmark_times_every_policy(capsys, monkeypatch):
    from benchmarks import compilers, remat

    monkeypatch.setattr(compilers, "why_no_tpu", lambda: "no TPU")
    monkeypatch.setattr(remat, "POLICIES", ("none", "full"))
    Remat(width=16, timed_batch=1, tokens=4, rounds=1).run()
    printed = capsys.readouterr().out
    assert re.search(r"\| none \| [\d,]+ \| 0% \| [\d.]+ \| 1.00 \| 1.00 \|\n", printed)
    assert re.search(r"\| full \| [\d,]+ \| -?\d+% \|( [\d.]+ \|){3}\n", printed)


def test_the_pytorch_benchmark_prints_ours_with_or_without_it(capsys):
    PyTorch(layers=1, batch=1, tokens=4, rounds=1, compiled=False).run()
    assert re.search(r"\| ours \|( [\d.,]+ \|){3} 1.00 \|", capsys.readouterr().out)


def test_the_alternation_benchmark_prints_its_figures(tmp_path, capsys):
    AGD(
        structures=2, width=16, layers=2, batch=2, deep_layers=2, rounds=1, data=tmp_path / "no"
    ).run()
    printed = capsys.readouterr().out
    assert re.search(r"2 structures by turns to one: [\d.]+ by CPU s\n", printed)
    assert "programs compiled in these steps: 0\n" in printed
    assert re.search(r"2 layers scanned: [\d.]+ ms of CPU\n", printed)


def test_search_beside_faiss_without_faiss(on_path, capsys):
    Index(vectors=3_000, queries=10, rounds=1, arms=("lancedb",)).run()
    printed = capsys.readouterr().out
    assert re.search(r"\| lancedb \| \d+ \| \d+ \| 1.000 \| \d+ \| ", printed)
    assert re.search(r"lancedb, filtered: \d+ ms a query", printed)


def test_the_serving_benchmark_prints_every_arm(capsys, on_path):
    small = {"model": "imp-moe-tiny", "size": 32, "length": 16, "callers": 8}
    Serving(**small, seconds=0.3, modalities=("text",), overload=False).run()
    printed = capsys.readouterr().out
    for arm in ("in process", "stream", "calls of 8", "calls of 1"):
        assert re.search(rf"\| text, {arm} \| [\d.]+ \| [\d.]+ \| [\d.]+ \|", printed)
