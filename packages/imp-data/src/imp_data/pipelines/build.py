"""Build: the Beam graph, `Create(shard jobs) | Reshuffle | ParDo(process one shard)`.

Descriptors are shuffled, never payloads. Each shard is written whole inside the DoFn and leaves a
receipt, so a killed build goes on where it was, and it means the same on every runner.
"""

import dataclasses
import functools
import logging
import os
import pathlib
from collections.abc import Mapping, Sequence

from imp_data import sources
from imp_data.datasets import Dataset
from imp_data.media.limits import DEFAULT_LIMITS, Limits
from imp_data.near_duplicates import kinds
from imp_data.near_duplicates.kinds import Kind
from imp_data.pipelines import plan as plan_lib
from imp_data.pipelines import progress as progress_lib
from imp_data.pipelines import runner, screen
from imp_data.pipelines import shard as shard_lib
from imp_data.pipelines.finalize import finalize
from imp_data.pipelines.folder import Folder
from imp_data.pipelines.shard import ShardJob
from imp_data.stores.atomic import TEMPORARY_SUFFIX
from imp_data.stores.lock import sole_writer
from imp_data.views import TextView, View

FORMATS = ("tensorstore", "tfrecord")
_logger = logging.getLogger(__name__)


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
    extend: bool = False,
    retry_rejects: bool = False,
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
    To an earlier build of other inputs, `extend` adds what the source has gained, in shards of
    their own, `retry_rejects` redoes the shards that have rejects, whose inputs and the limits may
    have been mended, and `overwrite` replaces all.
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
    if len({view.key for view in views}) != len(views):
        raise ValueError(f"two views share a key: {', '.join(view.key for view in views)}")
    if shard_examples is not None and shard_examples < 1:
        raise ValueError(f"shard_examples {shard_examples} must be at least 1")
    if overwrite and (extend or retry_rejects):
        raise ValueError("--overwrite replaces what --extend or --retry-rejects would keep")
    screening_options = None
    if against or dedup:
        screening_options = screen.Options(
            against=tuple(against),
            within=dedup,
            kinds=tuple(compare) or kinds.of_views(views),
            similarity=dict(similarity or {}),
        )
    elif compare or similarity:
        raise ValueError("compare and similarity say how; name --against or --dedup as well")
    items = sources.read(
        source,
        modalities={view.modality for view in views},
        caption_from=caption_from,
        root=root,
        split=split,
        columns=columns,
    )
    sources.check(items, max_share=max_reject_share)
    num_threads = num_threads or os.cpu_count() or 1
    with sole_writer(out):
        folder = Folder.open(
            out, items, extend=extend, retry_rejects=retry_rejects, overwrite=overwrite
        )
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
            compared=None if screening_options is None else dataclasses.asdict(screening_options),
            earlier=folder.earlier,
        )
        plan = make_plan()
        folder.check(plan)
        if screening_options is not None:
            screening = screen.screen(
                plan,
                screening_options,
                out / screen.FOLDER,
                limits=limits,
                num_threads=num_threads,
                pipeline_options=pipeline_options,
                replace=folder.earlier is None or extend or retry_rejects,
                shown=progress,
            )
            plan = make_plan(screening=screening)
        if (done := folder.prepare(plan)) is not None:
            return done
        jobs = [
            ShardJob(
                out=str(out.resolve()),
                digest=plan.digests[shard.name],
                shard=shard,
                shard_size=plan.shard_sizes[shard.split],
                labels=plan.labels,
                views=plan.views,
                formats=plan.formats,
                limits=limits,
                num_threads=num_threads,
            )
            for shard in folder.missing(plan)
        ]
        _logger.info("%s: %d of %d shards to build", plan.name, len(jobs), len(plan.shards))
        if jobs:
            with progress_lib.watch(plan, out, shown=progress):
                runner.for_each(shard_lib.process_shard, jobs, pipeline_options)
        # Of workers that were killed, in this build or an earlier one.
        for stale in out.rglob(f".*{TEMPORARY_SUFFIX}"):
            stale.unlink()
        return finalize(plan, out, max_reject_share=max_reject_share)
