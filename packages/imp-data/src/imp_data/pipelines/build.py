"""Build: the Beam graph, `Create(shard jobs) | Reshuffle | ParDo(process one shard)`.

Descriptors are shuffled, never payloads. Each shard is written whole inside the DoFn and leaves a
receipt, so a killed build goes on where it was, and it means the same on every runner.
"""

import concurrent.futures
import logging
import os
import pathlib
import shutil
import threading
from collections.abc import Iterable, Mapping, Sequence

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions
from apache_beam.runners.direct.direct_runner import BundleBasedDirectRunner
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.runners.runner import create_runner

from imp_data.datasets import MANIFEST, Dataset
from imp_data.media.limits import DEFAULT_LIMITS, Limits
from imp_data.pipelines import plan as plan_lib
from imp_data.pipelines import progress as progress_lib
from imp_data.pipelines import shard as shard_lib
from imp_data.pipelines import sources
from imp_data.pipelines.finalize import REJECTS, finalize
from imp_data.pipelines.plan import Plan
from imp_data.pipelines.shard import ShardJob
from imp_data.stores import tensorstore
from imp_data.stores.atomic import TEMPORARY_SUFFIX, write_file
from imp_data.stores.lock import sole_writer
from imp_data.views import TextView, View

FORMATS = ("tensorstore", "tfrecord")
PLAN = "plan.json"
# All that a build writes; nothing else in the folder is ever deleted.
_OURS = ("tensorstore", "tfrecord", "examples", "receipts", REJECTS, PLAN)
# Beam's default runner would try to download one, and it knows Dask's only by its full name.
_RUNNERS = {None: "FnApiRunner", "DaskRunner": "apache_beam.runners.dask.dask_runner.DaskRunner"}
_logger = logging.getLogger(__name__)
# An in-process run looks here before each shard.
_stopping = threading.Event()


class ProcessShard(beam.DoFn):
    """ShardJob -> the name of the shard, once its receipt is on disk."""

    def process(self, job: ShardJob) -> Iterable[str]:
        if not _stopping.is_set():
            shard_lib.process_shard(job)
            yield job.shard.name


def build_dataset(
    *,
    source: str,
    out: str | os.PathLike[str],
    views: Sequence[View],
    name: str | None = None,
    formats: Sequence[str] = ("tensorstore",),
    caption_from: sources.CaptionFrom | None = None,
    root: str | None = None,
    split: str | None = None,
    columns: Mapping[str, str] | None = None,
    seed: int = 0,
    shard_examples: int | None = None,
    max_reject_share: float = 0.05,
    limits: Limits = DEFAULT_LIMITS,
    overwrite: bool = False,
    num_threads: int | None = None,
    pipeline_options: Sequence[str] = (),
    progress: bool = True,
) -> Dataset:
    """Builds a source into a dataset at `out`, or returns the one that an equal call built.

    `source`, `caption_from`, `root`, `split` and `columns` are as `sources.read` takes them. `name`
    defaults to the folder's. `num_threads` decode at a time within a shard, by default one
    a core. `pipeline_options` are Beam's; without a --runner it runs in this process.
    Raises ValueError or FileNotFoundError, one line, for what the caller can put right: a source
    that can't be read, another dataset or another writer at `out`, too many rejects.
    """
    out = pathlib.Path(out)
    if unknown := [name for name in formats if name not in FORMATS] or not formats:
        raise ValueError(f"formats {unknown} are unknown; choose among {', '.join(FORMATS)}")
    if not 0 <= max_reject_share <= 1:
        raise ValueError(f"max_reject_share {max_reject_share} must be within 0 and 1")
    if texts := [view.key for view in views if isinstance(view, TextView)]:
        raise ValueError(f"view {texts[0]} isn't stored: shards keep the text; leave it out")
    if not views:
        raise ValueError("no views to build; write --views image-64, for example")
    modalities = {view.modality for view in views}
    items = sources.read(
        source,
        modalities=modalities,
        caption_from=caption_from,
        root=root,
        split=split,
        columns=columns,
    )
    sources.check(items, max_share=max_reject_share)
    plan = plan_lib.make_plan(
        items,
        name=name or out.resolve().name,
        source=source,
        views=views,
        formats=sorted(set(formats)),
        limits=limits,
        seed=seed,
        shard_examples=shard_examples,
    )
    with sole_writer(out):
        if (done := _prepare(plan, out, overwrite=overwrite)) is not None:
            return done
        jobs = [
            ShardJob(
                out=str(out.resolve()),
                plan_digest=plan.digest,
                shard=shard,
                shard_size=plan.shard_sizes[shard.split],
                num_shards=plan.num_shards(shard.split),
                labels=plan.labels,
                views=plan.views,
                formats=plan.formats,
                limits=limits,
                num_threads=num_threads or os.cpu_count() or 1,
            )
            for shard in plan.shards
            if shard_lib.valid_receipt(out, shard, plan.digest) is None
        ]
        _logger.info("%s: %d of %d shards to build", plan.name, len(jobs), len(plan.shards))
        if jobs:
            with progress_lib.watch(plan, out, shown=progress):
                run_pipeline(jobs, pipeline_options)
        # Of workers that were killed, in this build or an earlier one.
        for stale in out.rglob(f".*{TEMPORARY_SUFFIX}"):
            stale.unlink()
        return finalize(plan, out, max_reject_share=max_reject_share)


def run_pipeline(jobs: Sequence[ShardJob], pipeline_options: Sequence[str] = ()) -> None:
    """Runs every job on the runner that the options name, or in this process.

    It runs in a thread of its own: an interrupt reaches the caller as itself, not as an error of
    Beam's, and ends an in-process run after the shards in work.
    """
    _stopping.clear()
    with concurrent.futures.ThreadPoolExecutor(1, "beam") as pool:
        try:
            pool.submit(_run_pipeline, jobs, pipeline_options).result()
        except KeyboardInterrupt:
            _stopping.set()
            raise


def _run_pipeline(jobs: Sequence[ShardJob], pipeline_options: Sequence[str]) -> None:
    # Made before the options are read: a runner's module declares its own.
    named = StandardOptions(list(pipeline_options)).runner
    runner = create_runner(_RUNNERS.get(named, named))
    # Dask's runner would hand 128 shards to a worker at a time.
    own = ["--dask_partition_size=1"] if named == "DaskRunner" else []
    options = PipelineOptions([*own, *pipeline_options])
    if isinstance(runner, FnApiRunner | BundleBasedDirectRunner):
        _check_known(options)
    pipeline = beam.Pipeline(runner=runner, options=options)
    _ = (
        pipeline
        | "Shards" >> beam.Create(jobs)
        | "Spread" >> beam.Reshuffle()
        | "ProcessShard" >> beam.ParDo(ProcessShard())
    )
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


def _prepare(plan: Plan, out: pathlib.Path, *, overwrite: bool) -> Dataset | None:
    """The finished dataset if this plan's lies at `out`; else makes `out` ready for the plan."""
    content = plan_lib.to_json(plan)
    path = out / PLAN
    if path.is_file() and path.read_bytes() != content:
        if not overwrite:
            raise ValueError(
                f"{out} holds another build: its source, views or options differ, or a file "
                "changed; choose another folder or replace it with --overwrite"
            )
        # The manifest goes first: a half-deleted dataset must not look whole.
        (out / MANIFEST).unlink(missing_ok=True)
        for name in _OURS:
            target = out / name
            shutil.rmtree(target) if target.is_dir() else target.unlink(missing_ok=True)
    elif not path.is_file() and out.exists() and any(out.iterdir()):
        raise ValueError(f"{out} is not empty and no dataset; choose another folder")
    if (out / MANIFEST).is_file():
        return Dataset.load(out)
    out.mkdir(parents=True, exist_ok=True)
    write_file(path, content)
    if "tensorstore" in plan.formats:
        for split, size in plan.shard_sizes.items():
            for view in plan.views:
                tensorstore.write_metadata(
                    out, split, view, num_shards=plan.num_shards(split), shard_size=size
                )
    return None
