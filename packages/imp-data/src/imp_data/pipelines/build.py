"""Build: the Beam graph, `Create(shard jobs) | Reshuffle | ParDo(process one shard)`.

Descriptors are shuffled, never payloads. Each shard is written whole inside the DoFn and leaves a
receipt, so a killed build goes on where it was, and it means the same on every runner.
"""

import functools
import logging
import os
import pathlib
import shutil
from collections.abc import Iterable, Mapping, Sequence

import apache_beam as beam

from imp_data.datasets import MANIFEST, Dataset
from imp_data.media.limits import DEFAULT_LIMITS, Limits
from imp_data.near_duplicates import kinds
from imp_data.near_duplicates.kinds import Kind
from imp_data.pipelines import plan as plan_lib
from imp_data.pipelines import progress as progress_lib
from imp_data.pipelines import runner, screen, sources
from imp_data.pipelines import shard as shard_lib
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
_OURS = ("tensorstore", "tfrecord", "examples", "receipts", REJECTS, PLAN, screen.FOLDER)
_logger = logging.getLogger(__name__)


class ProcessShard(beam.DoFn):
    """ShardJob -> the name of the shard, once its receipt is on disk."""

    def process(self, job: ShardJob) -> Iterable[str]:
        if not runner.stopping.is_set():
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
    against: Sequence[str] = (),
    dedup: bool = False,
    compare: Sequence[Kind] = (),
    similarity: Mapping[str, float] | None = None,
    overwrite: bool = False,
    num_threads: int | None = None,
    pipeline_options: Sequence[str] = (),
    progress: bool = True,
) -> Dataset:
    """Builds a source into a dataset at `out`, or returns the one that an equal call built.

    `source`, `caption_from`, `root`, `split` and `columns` are as `sources.read` takes them. `name`
    defaults to the folder's. `num_threads` decode at a time within a shard, by default one
    a core. `pipeline_options` are Beam's; without a --runner it runs in this process.
    Training examples that are near duplicates are left out: of those `against` name, sources or
    built datasets, and with `dedup` of each other; `compare` says by what, by default what the
    first view shows, and `similarity` from where on two are alike. See docs/DECONTAMINATION.md.
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
    make_plan = functools.partial(
        plan_lib.make_plan,
        items,
        name=name or out.resolve().name,
        source=source,
        views=views,
        formats=sorted(set(formats)),
        limits=limits,
        seed=seed,
        shard_examples=shard_examples,
    )
    plan = make_plan()
    if screened := bool(against) or dedup:
        screening_options = screen.Options(
            against=tuple(against),
            within=dedup,
            kinds=tuple(compare) or kinds.of_views(views),
            similarity=similarity or {},
        )
    elif compare or similarity:
        raise ValueError("compare and similarity say how; name --against or --dedup as well")
    with sole_writer(out):
        if screened:
            _check_ours(out)
            screening = screen.screen(
                plan,
                screening_options,
                out / screen.FOLDER,
                limits=limits,
                num_threads=num_threads or os.cpu_count() or 1,
                pipeline_options=pipeline_options,
                replace=overwrite or not (out / PLAN).is_file(),
                shown=progress,
            )
            if screening is None:
                raise _other_build(out)
            plan = make_plan(screening=screening)
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

    The shards in work are finished before an interrupt ends an in-process run.
    """

    def graph(pipeline: beam.Pipeline) -> None:
        _ = (
            pipeline
            | "Shards" >> beam.Create(jobs)
            | "Spread" >> beam.Reshuffle()
            | "ProcessShard" >> beam.ParDo(ProcessShard())
        )

    runner.run(graph, pipeline_options)


def _other_build(out: pathlib.Path) -> ValueError:
    return ValueError(
        f"{out} holds another build: its source, views or options differ, or a file "
        "changed; choose another folder or replace it with --overwrite"
    )


def _check_ours(out: pathlib.Path) -> None:
    """Raises ValueError for a folder that holds something else."""
    if not (out / PLAN).is_file() and any(path.name not in _OURS for path in out.iterdir()):
        raise ValueError(f"{out} is not empty and no dataset; choose another folder")


def _prepare(plan: Plan, out: pathlib.Path, *, overwrite: bool) -> Dataset | None:
    """The finished dataset if this plan's lies at `out`; else makes `out` ready for the plan."""
    content = plan_lib.to_json(plan)
    path = out / PLAN
    if path.is_file() and path.read_bytes() != content:
        if not overwrite:
            raise _other_build(out)
        # The manifest goes first: a half-deleted dataset must not look whole.
        (out / MANIFEST).unlink(missing_ok=True)
        for name in _OURS:
            target = out / name
            if name == screen.FOLDER and plan.screening is not None:
                # The new plan's own: it was screened before it was frozen.
                continue
            shutil.rmtree(target) if target.is_dir() else target.unlink(missing_ok=True)
    _check_ours(out)
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
