"""Examples a CPU second: our loader, the bare store's batched reads, TensorStore's of the same
files, and Grain over ArrayRecord; then what it costs to start, and memory, by number of examples.
"""

import dataclasses
import multiprocessing
import resource
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks import cold_start, photos
from imp_data.datasets import Dataset
from imp_data.loader import Loader
from imp_data.order import HostOrder, Shuffle
from imp_data.pipelines.build import build_dataset
from imp_data.stores.rows import Rows
from imp_data.stores.tensorstore import array_path
from imp_data.views import ImageView


@dataclasses.dataclass(frozen=True, kw_only=True)
class LoaderBenchmark:
    """Shuffled batches of stored images; each arm in a process of its own, in turns."""

    workdir: Path = Path("benchmark-loader")
    """Photos, shards and ArrayRecord files are made here, once."""
    images: int = 20_000
    size: int = 64
    batch_size: int = 256
    batches: int = 200
    rounds: int = 5
    scale: tuple[int, ...] = (10_000, 100_000, 1_000_000)
    """Numbers of tiny examples that a loader is started on."""

    def run(self) -> None:
        self._compare()
        print()
        cold_start.compare(self.workdir, self.scale, rounds=self.rounds)

    def _compare(self) -> None:
        source = photos.write(self.workdir / "photos", self.images)
        dataset = build_dataset(
            source=f"folder:{source}", out=self.workdir / "data", views=[ImageView(size=self.size)]
        )
        arms: dict[str, Callable[..., None]] = {
            "store": _store,
            "loader": _loader,
            "tensorstore": _tensorstore,
        }
        try:
            import grain  # noqa: F401  # pants: no-infer-dep
            from array_record.python import array_record_module  # noqa: F401  # pants: no-infer-dep
        except ModuleNotFoundError as error:
            print(f"without Grain, for {error}; to compare: pip install grain array-record")
        else:
            _write_array_records(dataset, self.workdir / "images.arrayrecord")
            arms["grain"] = _grain
        rates: dict[str, list[float]] = {name: [] for name in arms}
        firsts: dict[str, list[float]] = {name: [] for name in arms}
        pool = multiprocessing.get_context("spawn")
        for number in range(self.rounds):
            for name in sorted(arms, reverse=bool(number % 2)):
                with pool.Pool(1) as process:
                    rate, first = process.apply(_measure, (arms[name], self))
                rates[name].append(rate)
                firsts[name].append(first)
        print(
            f"{self.images} images of {self.size} x {self.size}, batches of {self.batch_size}, "
            f"medians of {self.rounds} rounds"
        )
        print(
            "| | examples a CPU second | against the loader | first batch, s |\n|---|---|---|---|"
        )
        for name in arms:
            relative = statistics.median(a / b for a, b in zip(rates[name], rates["loader"]))
            print(
                f"| {name} | {statistics.median(rates[name]):,.0f} | {relative:.2f} | "
                f"{statistics.median(firsts[name]):.2f} |"
            )


def _measure(arm: Callable[..., None], benchmark: LoaderBenchmark) -> tuple[float, float]:
    """Examples a CPU second once warm, and wall seconds until the first batch."""
    began = time.monotonic()
    marks: list[tuple[float, float]] = []

    def took(batch: np.ndarray) -> None:
        assert batch.shape == (benchmark.batch_size, benchmark.size, benchmark.size, 3)
        usage = resource.getrusage(resource.RUSAGE_SELF)
        marks.append((time.monotonic() - began, usage.ru_utime + usage.ru_stime))

    arm(benchmark, took)
    cpu = marks[-1][1] - marks[0][1]
    return (len(marks) - 1) * benchmark.batch_size / cpu, marks[0][0]


def _loader(benchmark: LoaderBenchmark, took: Callable[[np.ndarray], None]) -> None:
    with Loader(
        Dataset.load(benchmark.workdir / "data"),
        split="train",
        views=[ImageView(size=benchmark.size)],
        batch_size=benchmark.batch_size,
        seed=0,
    ) as loader:
        for batch in loader.batches(stop=benchmark.batches):
            took(batch.inputs["image"])


def _store(benchmark: LoaderBenchmark, took: Callable[[np.ndarray], None]) -> None:
    dataset = Dataset.load(benchmark.workdir / "data")
    rows = Rows(dataset, "train", ImageView(size=benchmark.size))
    shuffle = Shuffle(num_examples=len(rows), seed=0)
    order = HostOrder(shuffle=shuffle, batch_size=benchmark.batch_size)
    for step in range(benchmark.batches):
        took(rows.read(order(step)[1]))


def _tensorstore(benchmark: LoaderBenchmark, took: Callable[[np.ndarray], None]) -> None:
    import tensorstore

    dataset = Dataset.load(benchmark.workdir / "data")
    path = array_path(dataset.path, "train", ImageView(size=benchmark.size))
    kvstore = {"driver": "file", "path": f"{path}/"}
    array = tensorstore.open({"driver": "zarr3", "kvstore": kvstore}, open=True, read=True).result()
    shuffle = Shuffle(num_examples=dataset.num_examples["train"], seed=0)
    order = HostOrder(shuffle=shuffle, batch_size=benchmark.batch_size)
    places_of, size = dataset.shards("train"), dataset.manifest.splits[0].shard_size
    for step in range(benchmark.batches):
        shards, rows = places_of.locate(order(step)[1])
        took(array[shards * size + rows].read().result())


def _grain(benchmark: LoaderBenchmark, took: Callable[[np.ndarray], None]) -> None:
    import grain.python as grain  # pants: no-infer-dep

    shape = (benchmark.size, benchmark.size, 3)
    source = grain.ArrayRecordDataSource([str(benchmark.workdir / "images.arrayrecord")])
    dataset = (
        grain.MapDataset.source(source)
        .shuffle(seed=0)
        .repeat()
        .map(lambda data: np.frombuffer(data, np.uint8).reshape(shape))
        .to_iter_dataset(grain.ReadOptions(num_threads=2, prefetch_buffer_size=512))
        .batch(benchmark.batch_size)
    )
    for _, batch in zip(range(benchmark.batches), dataset):
        took(batch)


def _write_array_records(dataset: Dataset, path: Path) -> None:
    from array_record.python import array_record_module  # pants: no-infer-dep

    if path.exists():
        return
    view = dataset.views[0]
    rows = Rows(dataset, "train", view)
    temporary = path.with_suffix(".tmp")
    writer = array_record_module.ArrayRecordWriter(str(temporary), "group_size:1,uncompressed")
    for start in range(0, len(rows), 256):
        for array in rows.read(np.arange(start, min(start + 256, len(rows)))):
            writer.write(array.tobytes())
    writer.close()
    temporary.rename(path)
