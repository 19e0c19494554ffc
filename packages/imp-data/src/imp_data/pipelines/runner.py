"""Runner: a Beam graph runs on the runner that the options name, or in this process."""

import concurrent.futures
import pickle
import threading
import zlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions
from apache_beam.runners.direct.direct_runner import BundleBasedDirectRunner
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.runners.runner import create_runner

Job = TypeVar("Job")
# Beam's default runner would try to download one, and it knows Dask's only by its full name.
_RUNNERS = {None: "FnApiRunner", "DaskRunner": "apache_beam.runners.dask.dask_runner.DaskRunner"}
# An in-process run looks here before each job.
_stopping = threading.Event()


def for_each(
    work: Callable[[Job], object], jobs: Sequence[Job], pipeline_options: Sequence[str] = ()
) -> None:
    """Calls `work`, a module's function, for every job: `Create | Reshuffle | ParDo`, one leaf.

    The jobs in work are finished before an interrupt ends an in-process run.
    """
    # A job may list thousands of files. Beam compresses its graph by bzip2, more than once.
    packed = [zlib.compress(pickle.dumps(job), zlib.Z_BEST_SPEED) for job in jobs]

    def graph(pipeline: beam.Pipeline) -> None:
        _ = (
            pipeline
            | "Jobs" >> beam.Create(packed)
            | "Spread" >> beam.Reshuffle()
            | "Work" >> beam.ParDo(_Work(work))
        )

    run(graph, pipeline_options)


class _Work(beam.DoFn):
    def __init__(self, work: Callable[[Any], object]) -> None:
        self._work = work

    def process(self, packed: bytes) -> Iterable[None]:
        if not _stopping.is_set():
            self._work(pickle.loads(zlib.decompress(packed)))
            yield None


def is_stopping() -> bool:
    """Whether an interrupt waits for the work of an in-process run to end."""
    return _stopping.is_set()


def run(graph: Callable[[beam.Pipeline], None], pipeline_options: Sequence[str] = ()) -> None:
    """Runs what `graph` adds to a pipeline, to its end.

    It runs in a thread of its own: an interrupt reaches the caller as itself, not as an error of
    Beam's, and ends an in-process run after the steps in work.
    """
    _stopping.clear()
    with concurrent.futures.ThreadPoolExecutor(1, "beam") as pool:
        try:
            pool.submit(_run, graph, pipeline_options).result()
        except KeyboardInterrupt:
            _stopping.set()
            raise


def _run(graph: Callable[[beam.Pipeline], None], pipeline_options: Sequence[str]) -> None:
    # Made before the options are read: a runner's module declares its own.
    named = StandardOptions(list(pipeline_options)).runner
    runner = create_runner(_RUNNERS.get(named, named))
    # Dask's runner would hand 128 shards to a worker at a time.
    own = ["--dask_partition_size=1"] if named == "DaskRunner" else []
    options = PipelineOptions([*own, *pipeline_options])
    if isinstance(runner, FnApiRunner | BundleBasedDirectRunner):
        _check_known(options)
    pipeline = beam.Pipeline(runner=runner, options=options)
    graph(pipeline)
    result = pipeline.run()
    try:
        result.wait_until_finish()
    finally:
        # Dask's runner leaves its connection open.
        if (client := getattr(result, "client", None)) is not None:
            client.close()


def _check_known(options: PipelineOptions) -> None:
    """Beam only warns of a misspelt option, and goes on without it."""
    known = options.get_all_options(retain_unknown_options=True, drop_default=True)
    if unknown := sorted(set(known) - set(PipelineOptions([]).get_all_options())):
        raise ValueError(f"Beam knows no option --{unknown[0]}; see its runner's documentation")
