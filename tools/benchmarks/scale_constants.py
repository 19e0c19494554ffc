"""What docs/SCALE.md multiplies and no other benchmark prints: a shard's, an input's, a position's,
a saved byte's cost."""

import dataclasses
import json
import multiprocessing
import os
import tempfile
import time
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from PIL import Image

from imp_data import datasets, sources
from imp_data import views as views_lib
from imp_data.order import Shuffle
from imp_data.pipelines.plan import make_plan
from imp_data.stores.examples import examples_path, index_path
from imp_data.views import ImageView
from imp_model.config import size
from imp_model.model import Model
from imp_proto.v1 import manifest_pb2
from imp_train import optimizer
from imp_train.checkpoint import Checkpoints, checksums
from imp_train.config import OptimizerConfig
from imp_train.state import TrainState


@dataclasses.dataclass(frozen=True, kw_only=True)
class ScaleConstants:
    """Measures each once, in a process of its own; run it where nothing else runs."""

    inputs: int = 60_000
    """Files that a plan is made of: names of one file, of which a file system allows so many."""
    shards: int = 20_000
    """In a manifest, of two views each."""
    examples: int = 11_000_000_000
    """In the set whose order is drawn."""
    model: str = "imp-s"
    """Whose parameters and moments are saved and restored."""

    def run(self) -> None:
        rows: list[tuple[str, str]] = []
        with tempfile.TemporaryDirectory(prefix="imp-constants-") as name:
            for measure, *arguments in (
                (_plan, Path(name) / "files", self.inputs),
                (_write_manifest, Path(name) / "set", self.shards),
                (_read_manifest, Path(name) / "set", self.shards),
                (_order, self.examples),
                (_checkpoint, Path(name) / "run", self.model),
            ):
                # What one has freed is no memory of the next.
                with multiprocessing.get_context("spawn").Pool(1) as process:
                    rows += process.apply(measure, arguments)
        print("| | |\n|---|---|")
        for what, value in rows:
            print(f"| {what} | {value} |")


def _plan(folder: Path, count: int) -> list[tuple[str, str]]:
    """Names of one file, so that no time goes into writing them."""
    first = folder / "first.png"
    folder.mkdir()
    Image.new("RGB", (4, 4)).save(first)
    for number in range(1, count):
        if number % 10_000 == 1:
            part = folder / f"{number // 10_000:05}"
            part.mkdir()
        os.link(first, part / f"{number:09}.png")
    before, began = _peak(), _cpu()
    items = sources.read(f"folder:{folder}", modalities={"image"}, caption_from="stem")
    plan = make_plan(
        items, name="scale", source="", views=[ImageView(size=256)], formats=["tensorstore"]
    )
    frozen = plan.freeze()
    spent, grown = _cpu() - began, _peak() - before
    kept = sum(len(f'"{i}": "{f}", ') for i, f in frozen.inputs.items())
    return [
        ("an input in the plan: the driver's CPU us", f"{spent / count * 1e6:.0f}"),
        ("its memory in the driver, bytes", f"{grown / count:,.0f}"),
        ("its line of plan.json, bytes", f"{kept / count:.0f}"),
    ]


def _write_manifest(path: Path, count: int) -> list[tuple[str, str]]:
    """As a build of pictures in two sizes, with captions, would leave it."""
    views = [ImageView(size=256), ImageView(size=512)]
    manifest = manifest_pb2.Manifest(format=datasets.FORMAT, name="scale", modalities=["image"])
    for view in views:
        manifest.views.add(key=view.key, json=json.dumps(views_lib.to_json(view)))
    manifest.splits.add(name="train", num_examples=count * 1000, shard_size=1000)
    for shard in range(count):
        receipt = manifest.shards.add(
            digest=f"{shard:064x}", split="train", shard=shard, num_examples=1000
        )
        names = [f"tensorstore/train/{view.key}/c/{shard}/0/0/0" for view in views]
        for file in (*names, examples_path("train", shard), index_path("train", shard)):
            receipt.files.add(path=file, num_bytes=10**10, sha256=f"{shard:064x}")
    path.mkdir()
    datasets.write_manifest(path, manifest)
    size_on_disk = (path / datasets.MANIFEST).stat().st_size
    return [("a shard in the manifest, bytes", f"{size_on_disk / count:,.0f}")]


def _read_manifest(path: Path, count: int) -> list[tuple[str, str]]:
    before, began = _peak(), _cpu()
    dataset = datasets.Dataset.load(path)
    assert len(dataset.shards("train")) == count * 1000
    spent, grown = _cpu() - began, _peak() - before
    return [
        ("its memory in whoever reads the dataset, bytes", f"{grown / count:,.0f}"),
        ("reading it, CPU us", f"{spent / count * 1e6:.0f}"),
    ]


def _order(examples: int) -> list[tuple[str, str]]:
    shuffle = Shuffle(num_examples=examples, seed=0)
    positions = np.arange(1 << 12)
    shuffle(positions)
    rounds, began = 200, _cpu()
    for number in range(rounds):
        shuffle(positions + number * len(positions))
    each = (_cpu() - began) / rounds / len(positions)
    return [(f"a position of a shuffle of {examples:,}, CPU ns", f"{each * 1e9:.0f}")]


def _checkpoint(path: Path, model: str) -> list[tuple[str, str]]:
    parts = dict(Model.create(size(model), pairs=(("image", "text"),), seed=0).parts)
    state = TrainState(
        step=1, parts=parts, moments=optimizer.init(OptimizerConfig(), parts), positions={}
    )
    # Noise, as after training: zeros would be packed away.
    rng = np.random.default_rng(0)
    filled = {
        name: jnp.asarray(rng.standard_normal(array.shape), array.dtype)
        for name, array in state.arrays().items()
    }
    state = state.with_arrays(filled)
    num_bytes = sum(array.nbytes for array in state.arrays().values())
    checkpoints = Checkpoints(path)
    checksums(state.arrays())  # compiled once a run
    began = time.monotonic()
    checkpoints.save(state)
    stood = time.monotonic() - began
    checkpoints.close()
    written = time.monotonic() - began
    on_disk = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    again = Checkpoints(path)
    began = time.monotonic()
    again.restore(state)
    read = time.monotonic() - began
    again.close()
    return [
        (
            f"a checkpoint of {num_bytes / 1e6:,.0f} MB, bytes on disk to it",
            f"{on_disk / num_bytes:.2f}",
        ),
        ("saving it: training stands still, MB/s", f"{num_bytes / stood / 1e6:,.0f}"),
        ("until it is whole, MB/s", f"{num_bytes / written / 1e6:,.0f}"),
        ("restoring it, MB/s", f"{num_bytes / read / 1e6:,.0f}"),
    ]


def _peak() -> int:
    """The most bytes that were resident so far."""
    # Not getrusage's: a process that was begun by a larger one has that one's peak.
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) << 10


def _cpu() -> float:
    return time.process_time()
