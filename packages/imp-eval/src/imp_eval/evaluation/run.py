"""Every benchmark of one bundle -> its results."""

import dataclasses
import pathlib
from collections.abc import Sequence

import tqdm

from imp_data.tokenizer import Tokenizer
from imp_eval.evaluation import benchmark as benchmarks
from imp_eval.evaluation.benchmark import Benchmark
from imp_eval.evaluation.encodings import Encodings
from imp_eval.evaluation.intervals import Bootstrap
from imp_eval.evaluation.pooling import PooledEncoder
from imp_eval.evaluation.results import Score, TaskResult
from imp_eval.evaluation.spec import Spec
from imp_eval.evaluation.tasks import RETRIEVAL, TASKS, ZERO_SHOT, Scorer
from imp_model import bundle as bundles


@dataclasses.dataclass(frozen=True, kw_only=True)
class BenchmarkResults:
    """`problems` are ids and reasons of inputs that are no use; `left_out` tasks and why."""

    benchmark: Benchmark
    tasks: tuple[TaskResult, ...]
    problems: tuple[tuple[str, str], ...]
    left_out: dict[str, str]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Results:
    """`digest` and `metadata` are the bundle's."""

    bundle: str
    digest: str
    metadata: dict[str, object]
    bootstrap: Bootstrap
    benchmarks: tuple[BenchmarkResults, ...]

    @property
    def tasks(self) -> list[TaskResult]:
        return [task for own in self.benchmarks for task in own.tasks]

    @property
    def scores(self) -> list[Score]:
        return [score for task in self.tasks for score in task.scores]


def evaluate_bundle(
    bundle: bundles.Bundle,
    specs: Sequence[Spec],
    *,
    path: str,
    tasks: Sequence[str] = (),
    batch_size: int = 32,
    bootstrap: Bootstrap | None = None,
    cache: pathlib.Path | None = None,
    max_reject_share: float = 0.05,
    progress: bool = True,
) -> Results:
    """Scores `bundle`, which `path` names, on every benchmark.

    Without `tasks` those of zero-shot and retrieval that suit each. Raises FileNotFoundError, and
    ValueError for a benchmark that is no use or that no task suits, before anything is embedded;
    and where more than `max_reject_share` of the inputs are no use.
    """
    check(specs, tasks)
    encoder = PooledEncoder(bundle, batch_size=batch_size)
    made = [benchmarks.make(spec, encoder.views) for spec in specs]
    for benchmark in made:
        _check_listed(benchmark, max_reject_share)
    tokenizer = None if bundle.tokenizer_path is None else Tokenizer.load(bundle.tokenizer_path)
    with tqdm.tqdm(unit="file", disable=None if progress else True) as bar:
        encodings = Encodings(
            encoder=encoder,
            tokenizer=tokenizer,
            cache=cache,
            max_reject_share=max_reject_share,
            advance=bar.update,
        )
        scorer = Scorer(encodings=encodings, bootstrap=bootstrap or Bootstrap())
        chosen = [_chosen(scorer, benchmark, tasks) for benchmark in made]
        bar.reset(sum(scorer.work(b, own) for b, (own, _) in zip(made, chosen, strict=True)))
        found = []
        for benchmark, (own, left_out) in zip(made, chosen, strict=True):
            bar.set_description(benchmark.name)
            results = [result for task in own for result in scorer.run(benchmark, task)]
            found.append(
                BenchmarkResults(
                    benchmark=benchmark,
                    tasks=tuple(results),
                    problems=tuple(encodings.problems(benchmark)),
                    left_out=left_out,
                )
            )
            encodings.forget()
    return Results(
        bundle=path,
        digest=bundle.digest,
        metadata=bundle.metadata,
        bootstrap=scorer.bootstrap,
        benchmarks=tuple(found),
    )


def check(specs: Sequence[Spec], tasks: Sequence[str]) -> None:
    """Raises ValueError for no benchmark, two of one name, or a task that there is not."""
    if not specs:
        raise ValueError("no benchmark; give --benchmark KIND:PLACE, such as folder:photos")
    if unknown := [task for task in tasks if task not in TASKS]:
        raise ValueError(f"task {unknown[0]!r} is unknown; choose among {', '.join(TASKS)}")
    names = [spec.name for spec in specs]
    if twice := [name for name in names if names.count(name) > 1]:
        raise ValueError(f"two benchmarks are named {twice[0]!r}; write NAME=KIND:PLACE")


def _chosen(
    scorer: Scorer, benchmark: Benchmark, tasks: Sequence[str]
) -> tuple[list[str], dict[str, str]]:
    """The tasks to run, and those left out with the reason."""
    reasons = {task: scorer.possible(benchmark, task) for task in tasks or (ZERO_SHOT, RETRIEVAL)}
    chosen = [task for task, reason in reasons.items() if reason is None]
    left_out = {task: reason for task, reason in reasons.items() if reason is not None}
    if not chosen:
        told = "; ".join(f"{task}: {reason}" for task, reason in left_out.items())
        raise ValueError(f"{benchmark.spec}: nothing to score ({told})")
    return chosen, left_out


def _check_listed(benchmark: Benchmark, max_share: float) -> None:
    count, total = len(benchmark.problems), benchmark.num_listed
    if count > max_share * total:
        name, problem = benchmark.problems[0]
        raise ValueError(
            f"{benchmark.spec}: {name}: {problem} ({count} of {total} inputs are no use; mend "
            "them, or allow more with --max-reject-share)"
        )
