"""Results -> files: results.json, results.md, classes/*.csv and plots/*.png."""

import csv
import dataclasses
import io
import json
import pathlib
from collections.abc import Sequence
from typing import Any

from imp_data.stores.atomic import write_file
from imp_eval.evaluation import plots
from imp_eval.evaluation.results import ClassScore, Score
from imp_eval.evaluation.run import BenchmarkResults, Results

_SHOWN_CLASSES, _SHOWN_PROBLEMS = 10, 5
_HEAD = ("benchmark", "task", "modality", "metric", "value", "interval", "chance", "n")


def write(folder: pathlib.Path, results: Results) -> None:
    """Every file whole or not at all; other files in the folder stay."""
    for task in results.tasks:
        if task.classes:
            write_file(folder / "classes" / f"{task.key}.csv", _csv(task.classes).encode())
        for name, png in plots.of(task).items():
            write_file(folder / "plots" / f"{name}.png", png)
    write_file(folder / "results.md", markdown(results).encode())
    text = json.dumps(to_json(results), indent=1, ensure_ascii=False) + "\n"
    write_file(folder / "results.json", text.encode())


def to_json(results: Results) -> dict[str, Any]:
    """`scores` has a row a figure; `benchmarks` says what they are of."""
    return {
        "bundle": {
            "path": results.bundle,
            "digest": results.digest,
            "metadata": results.metadata,
        },
        "bootstrap": dataclasses.asdict(results.bootstrap),
        "scores": [dataclasses.asdict(score) for score in results.scores],
        "benchmarks": [_benchmark(own) for own in results.benchmarks],
    }


def _benchmark(own: BenchmarkResults) -> dict[str, Any]:
    benchmark = own.benchmark
    return {
        "name": benchmark.name,
        "spec": benchmark.spec,
        "modalities": list(benchmark.modalities),
        "examples": len(benchmark.test),
        "classes": len(benchmark.class_names),
        "clips": benchmark.num_clips if "video" in benchmark.modalities else 1,
        "problems": [{"id": name, "reason": reason} for name, reason in own.problems],
        "left_out": own.left_out,
        "tasks": [
            {
                "task": task.task,
                "modality": task.modality,
                **task.details,
                "classes": [dataclasses.asdict(score) for score in task.classes],
            }
            for task in own.tasks
        ],
    }


def markdown(results: Results) -> str:
    """A table for each modality, then what each benchmark's classes got."""
    percent = f"{100 * results.bootstrap.level:g} %"
    about = ", ".join(f"{key} {value}" for key, value in sorted(results.metadata.items()))
    lines = [
        f"# Scores of {results.bundle}",
        "",
        f"Bundle `{results.digest}` ({about}). Intervals: {percent}, bootstrap of "
        f"{results.bootstrap.num_resamples} resamples, seed {results.bootstrap.seed}.",
    ]
    modalities = dict.fromkeys(score.modality for score in results.scores)
    for modality in modalities:
        own = [score for score in results.scores if score.modality == modality]
        lines += ["", f"## {modality}", "", *table(own)]
    for benchmark in results.benchmarks:
        lines += _details(benchmark)
    return "\n".join(lines) + "\n"


def table(scores: Sequence[Score]) -> list[str]:
    """Markdown; fractions as they are, ranks with one decimal."""
    rows = [_HEAD, *(_row(score) for score in scores)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(_HEAD))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in rows
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return lines


def _row(score: Score) -> tuple[str, ...]:
    places = 1 if score.metric == "median-rank" else 3
    chance = "" if score.chance is None else f"{score.chance:.{places}f}"
    return (
        score.benchmark,
        score.task,
        score.modality,
        score.metric,
        f"{score.value:.{places}f}",
        f"{score.low:.{places}f}-{score.high:.{places}f}",
        chance,
        str(score.n),
    )


def _details(own: BenchmarkResults) -> list[str]:
    lines = ["", f"## {own.benchmark.name}", "", f"`{own.benchmark.spec}`"]
    for task in own.tasks:
        if not task.classes:
            continue
        worst = sorted(task.classes, key=lambda score: (score.value, score.name))[:_SHOWN_CLASSES]
        several = len(task.classes) > len(worst)
        lines += [
            "",
            f"{task.task}, {task.modality}: "
            + (f"the {len(worst)} hardest of {len(task.classes)} classes" if several else "classes")
            + f" ([all](classes/{task.key}.csv))",
            "",
            "| class | n | score | mostly taken for |",
            "|---|---|---|---|",
            *(f"| {s.name} | {s.n} | {s.value:.3f} | {s.confused_with} |" for s in worst),
        ]
        lines += [f"\n![{name}](plots/{name}.png)" for name in plots.names(task)]
    if own.left_out:
        lines += ["", *(f"Left out: {task} ({why})." for task, why in own.left_out.items())]
    if own.problems:
        lines += ["", f"{len(own.problems)} inputs are no use, among them:", ""]
        lines += [f"- {name}: {reason}" for name, reason in own.problems[:_SHOWN_PROBLEMS]]
    return lines


def _csv(classes: Sequence[ClassScore]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(("class", "n", "score", "mostly_taken_for"))
    writer.writerows((s.name, s.n, f"{s.value:.6f}", s.confused_with) for s in classes)
    return out.getvalue()


def summary(results: Results) -> str:
    """What the terminal shows."""
    return "\n".join(table(results.scores))
