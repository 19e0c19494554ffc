"""Runner: a Beam graph runs on the runner that the options name, or in this process."""

import concurrent.futures
import threading
from collections.abc import Callable, Sequence

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

# An in-process run looks here before each of its steps.
stopping = threading.Event()


def run(graph: Callable[[beam.Pipeline], None], pipeline_options: Sequence[str] = ()) -> None:
    """Runs what `graph` adds to a pipeline, to its end.

    It runs in a thread of its own: an interrupt reaches the caller as itself, not as an error of
    Beam's, and ends an in-process run after the steps in work.
    """
    stopping.clear()
    with concurrent.futures.ThreadPoolExecutor(1, "beam") as pool:
        try:
            pool.submit(_run, graph, pipeline_options).result()
        except KeyboardInterrupt:
            stopping.set()
            raise


def _run(graph: Callable[[beam.Pipeline], None], pipeline_options: Sequence[str]) -> None:
    options = PipelineOptions(list(pipeline_options))
    # Beam's default runner would try to download one.
    runner = options.get_all_options()["runner"] or "FnApiRunner"
    with beam.Pipeline(runner=runner, options=options) as pipeline:
        graph(pipeline)
