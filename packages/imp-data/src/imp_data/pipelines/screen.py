"""Screen: before the plan is frozen, find which training examples are near duplicates.

Fingerprints, then the join, then the decisions; each leaves a file, and a screening that was
stopped goes on. What is dropped is a function of the inputs, the seed and the options.
"""

import dataclasses
import hashlib
import json
import logging
import pathlib
import shutil
from collections.abc import Iterator, Sequence

from imp_data.media.limits import Limits
from imp_data.near_duplicates import decisions, report
from imp_data.near_duplicates.decisions import Match
from imp_data.near_duplicates.drops import Drop, Screening
from imp_data.near_duplicates.kinds import COMPARISONS, KINDS, Kind
from imp_data.pipelines import fingerprint, near_pairs, references
from imp_data.pipelines.fingerprint import FingerprintJob
from imp_data.pipelines.near_pairs import Chunk
from imp_data.pipelines.plan import Plan
from imp_data.pipelines.references import HELD_OUT, Members, Reference
from imp_data.pipelines.sides import Sides
from imp_data.pipelines.sources import Item, files

FOLDER = "near_duplicates"
# A change of what is found in the same files: raise it.
_VERSION = 1
_logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """`against` are evaluation sets; `within` drops duplicates inside the set; `kinds` compare."""

    against: tuple[str, ...]
    within: bool
    kinds: tuple[Kind, ...]

    def __post_init__(self) -> None:
        if unknown := [kind for kind in self.kinds if kind not in KINDS]:
            raise ValueError(f"compare {unknown[0]!r} is unknown; choose among {', '.join(KINDS)}")
        if not self.kinds or not (self.against or self.within):
            raise ValueError("nothing to compare; name --against or --dedup")


def screen(
    plan: Plan,
    options: Options,
    out: pathlib.Path,
    *,
    limits: Limits,
    num_threads: int,
    pipeline_options: Sequence[str],
    replace: bool,
) -> Screening:
    """What to drop of a plan's items, with a report in `out`. Raises what `references.read` does.

    An equal screening that is finished is read, not repeated. Raises ValueError for a finished one
    of something else, unless it is to `replace` that.
    """
    kinds: tuple[Kind, ...] = tuple(dict.fromkeys(("bytes", *options.kinds)))
    refs = [references.read(spec, kinds=options.kinds) for spec in options.against]
    items = [item for shard in plan.shards for item in shard.items]
    digest = _digest(plan, items, refs, options)
    if (done := report.read(out)) is not None and done.digest == digest:
        return done
    if done is not None and not replace:
        raise ValueError(
            f"{out.parent} holds another build: what it was compared with has changed; choose "
            "another folder, or replace it with --overwrite"
        )
    work = out / f"work-{digest[:16]}"
    for stale in out.glob("work-*"):
        if stale != work:
            shutil.rmtree(stale)
    work.mkdir(parents=True, exist_ok=True)
    _logger.info("%s: comparing %d items by %s", plan.name, len(items), ", ".join(kinds))
    jobs = list(_jobs(items, refs, work, kinds, limits, num_threads))
    fingerprint.run(jobs, pipeline_options)
    matches = near_pairs.near_pairs(
        [
            Chunk(path=job.path, number=job.chunk, first=job.first, reference=job.reference)
            for job in jobs
        ],
        kinds=kinds,
        within=options.within,
        out=work,
        pipeline_options=pipeline_options,
    )
    held_out = [item.split in HELD_OUT for item in items] + [True] * sum(len(r.ids) for r in refs)
    # The plan's order is by a keyed hash, after what an earlier plan kept: the first of those that
    # are alike stays.
    dropped = decisions.decide(
        matches, num_items=len(items), order=range(len(items)), held_out=held_out
    )
    screening = Screening(
        digest=digest,
        against=options.against,
        within=options.within,
        kinds=options.kinds,
        drops=tuple(_drop(match, items, refs) for match in _in_order(dropped)),
        num_held_out=sum(held_out[match.item] and held_out[match.other] for match in matches),
    )
    found = dict(zip(screening.drops, _in_order(dropped)))
    sides = Sides(jobs)
    pairs = [
        (drop, sides.of(found[drop].item), sides.of(found[drop].other))
        for drop in report.shown(screening.drops)
    ]
    report.write(out, screening, pairs, num_items=len(items))
    shutil.rmtree(work)
    return screening


def _in_order(dropped: dict[int, Match]) -> list[Match]:
    return [match for _, match in sorted(dropped.items())]


def _digest(plan: Plan, items: Sequence[Item], refs: Sequence[Reference], options: Options) -> str:
    """sha256 of all that decides what is dropped, but for what an extended plan keeps."""
    thresholds = {k: (COMPARISONS[k].threshold, COMPARISONS[k].share) for k in options.kinds}
    content = {
        "version": _VERSION,
        "seed": plan.seed,
        "options": [options.within, options.kinds, thresholds],
        "clock": plan.modified,
        "items": [
            [item.id, item.split, item.texts, item.start, item.end, plan.sizes[item.id]]
            for item in sorted(items, key=lambda item: item.id)
        ],
        "against": [
            [ref.name, ref.digest, ref.ids]
            + [[item.texts, item.start, item.end, *files.status(item.path)] for item in ref.items]
            for ref in refs
        ],
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _jobs(
    items: Sequence[Item],
    refs: Sequence[Reference],
    work: pathlib.Path,
    kinds: tuple[Kind, ...],
    limits: Limits,
    num_threads: int,
) -> Iterator[FingerprintJob]:
    """The set's chunks, then each reference's: items are numbered in this order."""
    groups: list[tuple[bool, Members]] = [(False, c) for c in references.chunked(items)]
    groups += [(True, chunk) for ref in refs for chunk in ref.chunks]
    first = 0
    for number, (reference, members) in enumerate(groups):
        yield FingerprintJob(
            path=str((work / f"{number:06d}.npz").resolve()),
            chunk=number,
            first=first,
            members=members,
            reference=reference,
            kinds=kinds,
            limits=limits,
            num_threads=num_threads,
        )
        first += references.count(members)


def _drop(match: Match, items: Sequence[Item], refs: Sequence[Reference]) -> Drop:
    item = items[match.item]
    like, where, other = "", "", match.other
    if other < len(items):
        like = items[other].id
    else:
        other -= len(items)
        for ref in refs:
            if other < len(ref.ids):
                like, where = ref.ids[other], ref.name
                break
            other -= len(ref.ids)
    return Drop(
        id=item.id,
        split=item.split,
        like=like,
        where=where,
        kind=match.kind,
        similarity=match.similarity,
    )
