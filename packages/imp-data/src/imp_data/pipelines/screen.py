"""Screen: before the plan is frozen, find which training examples are near duplicates.

Fingerprints, then the decisions, which ask for a join in each of their rounds. Each leaves files,
and a screening that was stopped goes on. What is dropped is a function of the inputs, the seed and
the options.
"""

import dataclasses
import hashlib
import json
import logging
import pathlib
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence

from imp_data.media.limits import Limits
from imp_data.near_duplicates import decisions, kinds, report
from imp_data.near_duplicates.decisions import Match
from imp_data.near_duplicates.drops import Drop, Screening
from imp_data.near_duplicates.kinds import KINDS, Comparison, Kind
from imp_data.near_duplicates.label_conflicts import conflict
from imp_data.pipelines import fingerprint, near_pairs, progress, references
from imp_data.pipelines.fingerprint import FingerprintJob
from imp_data.pipelines.near_pairs import Chunk
from imp_data.pipelines.plan import Plan
from imp_data.pipelines.references import HELD_OUT, Members, Reference
from imp_data.pipelines.sides import Sides
from imp_data.sources import Item, files

FOLDER = "near_duplicates"
# A change of what is found in the same files: raise it.
_VERSION = 2
_logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """`against` are evaluation sets; `within` drops duplicates inside the set; `kinds` compare.

    `similarity` is what two examples need at least to be alike, for kinds that need another than
    the default.
    """

    against: tuple[str, ...]
    within: bool
    kinds: tuple[Kind, ...]
    similarity: Mapping[str, float] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        if unknown := [kind for kind in self.kinds if kind not in KINDS]:
            raise ValueError(f"compare {unknown[0]!r} is unknown; choose among {', '.join(KINDS)}")
        if not self.kinds or not (self.against or self.within):
            raise ValueError("nothing to compare; name --against or --dedup")
        kinds.with_thresholds(self.similarity)
        if unused := [kind for kind in self.similarity if kind not in self.kinds]:
            raise ValueError(
                f"similarity of {unused[0]} is set, but examples are compared by "
                f"{', '.join(self.kinds)}; name --compare {unused[0]}"
            )

    @property
    def comparisons(self) -> dict[Kind, Comparison]:
        """By bytes first: the first that finds a pair names the reason."""
        known = kinds.with_thresholds(self.similarity)
        return {kind: known[kind] for kind in ("bytes", *self.kinds)}


def screen(
    plan: Plan,
    options: Options,
    out: pathlib.Path,
    *,
    limits: Limits,
    num_threads: int,
    pipeline_options: Sequence[str],
    replace: bool,
    shown: bool,
) -> Screening:
    """What to drop of a plan's items, with a report in `out`. Raises what `references.read` does.

    An equal screening that is finished is read, not repeated. Raises ValueError for a finished one
    of something else, unless it is to `replace` that. `shown` asks for progress bars.
    """
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
    compared = tuple(options.comparisons)
    _logger.info("%s: comparing %d items by %s", plan.name, len(items), ", ".join(compared))
    jobs = list(_jobs(items, refs, work, compared, limits, num_threads))
    counts = {pathlib.Path(job.path): references.count(job.members) for job in jobs}
    with progress.watch_files(counts, title=f"{plan.name}: fingerprints", shown=shown):
        fingerprint.run(jobs, pipeline_options)
    compare = _Compare(plan.name, jobs, options, work, pipeline_options, shown)
    # The plan's order is by a keyed hash, after what an earlier plan kept: the first of those that
    # are alike stays.
    training = [number for number, item in enumerate(items) if item.split not in HELD_OUT]
    held_out = [number for number, item in enumerate(items) if item.split in HELD_OUT]
    others = list(range(len(items), len(items) + sum(len(ref.ids) for ref in refs)))
    dropped = decisions.decide(
        compare,
        fixed=others + held_out if options.within else others,
        rest=training,
        within=options.within,
    )
    left = decisions.decide(compare, fixed=others, rest=held_out, within=options.within)
    matches = [match for _, match in sorted(dropped.items())]
    screening = Screening(
        digest=digest,
        against=options.against,
        within=options.within,
        kinds=options.kinds,
        drops=tuple(_drops(matches, items, refs)),
        num_held_out=len(left),
        similarity={kind: options.comparisons[kind].threshold for kind in options.kinds},
    )
    found = dict(zip(screening.drops, matches))
    sides = Sides(jobs)
    pairs = [
        (drop, sides.of(found[drop].item), sides.of(found[drop].other))
        for drop in report.shown(screening.drops)
    ]
    report.write(out, screening, pairs, num_items=len(items))
    shutil.rmtree(work)
    return screening


class _Compare:
    """What the decisions ask for in each round, as a join of its own; see decisions.Compare."""

    def __init__(
        self,
        name: str,
        jobs: Sequence[FingerprintJob],
        options: Options,
        work: pathlib.Path,
        pipeline_options: Sequence[str],
        shown: bool,
    ) -> None:
        self._name, self._options, self._work = name, options, work
        self._pipeline_options, self._shown = pipeline_options, shown
        self._num_rounds = 0
        self._chunks = [
            Chunk(
                path=job.path,
                number=job.chunk,
                first=job.first,
                num_items=references.count(job.members),
            )
            for job in jobs
        ]

    def __call__(self, stay: Sequence[int], new: Sequence[int], within: bool) -> list[Match]:
        self._num_rounds += 1
        join, parts = near_pairs.plan(
            self._chunks,
            stay=stay,
            new=new,
            comparisons=self._options.comparisons,
            within=within,
            out=self._work / f"round-{self._num_rounds:03d}",
        )
        counts = {
            join.output(kind, part.chunk.number): int((part.roles > 0).sum())
            for kind in join.comparisons
            for part in parts
        }
        title = f"{self._name}: comparing, round {self._num_rounds}"
        with progress.watch_files(counts, title=title, shown=self._shown, kept=False):
            return near_pairs.near_pairs(join, parts, self._pipeline_options)


def _digest(plan: Plan, items: Sequence[Item], refs: Sequence[Reference], options: Options) -> str:
    """sha256 of all that decides what is dropped, but for what an extended plan keeps."""
    thresholds = {k: (c.threshold, c.share) for k, c in options.comparisons.items()}
    content = {
        "version": _VERSION,
        "seed": plan.seed,
        "options": [options.within, options.kinds, thresholds],
        "clock": plan.modified,
        "items": [
            [i.id, i.split, i.texts, i.labels, i.start, i.end, plan.sizes[i.id]]
            for i in sorted(items, key=lambda item: item.id)
        ],
        "against": [
            [ref.name, ref.digest, ref.ids, ref.labels]
            + [[item.texts, item.start, item.end, *files.status(item.path)] for item in ref.items]
            for ref in refs
        ],
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _jobs(
    items: Sequence[Item],
    refs: Sequence[Reference],
    work: pathlib.Path,
    compared: tuple[Kind, ...],
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
            kinds=compared,
            limits=limits,
            num_threads=num_threads,
        )
        first += references.count(members)


def _drops(
    matches: Sequence[Match], items: Sequence[Item], refs: Sequence[Reference]
) -> Iterator[Drop]:
    own = _names(item.labels for item in items)
    # (id, reference's name, labels, label names that the set knows too) of each number.
    others = [(item.id, "", item.labels, own) for item in items]
    for ref in refs:
        shared = own & _names(ref.labels)
        others += [(i, ref.name, labels, shared) for i, labels in zip(ref.ids, ref.labels)]
    for match in matches:
        item = items[match.item]
        like, where, labels, shared = others[match.other]
        yield Drop(
            id=item.id,
            split=item.split,
            like=like,
            where=where,
            kind=match.kind,
            similarity=match.similarity,
            labels=item.labels,
            like_labels=labels,
            label_conflict=conflict(item.labels, labels, shared),
        )


def _names(labels: Iterable[Sequence[str]]) -> frozenset[str]:
    return frozenset(name for own in labels for name in own)
