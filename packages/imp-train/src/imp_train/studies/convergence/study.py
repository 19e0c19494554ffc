"""`imp-train study convergence`: three questions to the AGD loop, with no image and no text."""

import dataclasses
import json
import math
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from tqdm import tqdm

from imp_data.stores.atomic import write_file
from imp_data.stores.lock import sole_writer
from imp_train.studies.convergence import classifier, factorization, least_squares
from imp_train.studies.convergence.factorization import bound
from imp_train.studies.convergence.question import Found, Question
from imp_train.studies.report import COLOURS, mean_and_error, write_page
from imp_train.studies.run import RESULTS

QUESTIONS = (least_squares.QUESTION, factorization.QUESTION, classifier.QUESTION)


def run(
    root: Path,
    *,
    seeds: int,
    questions: Sequence[Question] = QUESTIONS,
    progress: bool = True,
) -> list[Found]:
    """Runs what ROOT/results.jsonl lacks, and returns all; killed, it goes on where it was."""
    with sole_writer(root):
        path = root / RESULTS
        lines = path.read_text().splitlines() if path.is_file() else []
        before = [Found(**json.loads(line)) for line in lines]
        done = {(own.question, own.arm, own.setting, own.seed): own for own in before}
        wanted = [
            (question, arm, setting, seed)
            for question in questions
            for setting in question.settings
            for arm in question.arms
            for seed in range(seeds)
        ]
        found = []
        for question, arm, setting, seed in tqdm(
            wanted, desc="convergence", unit="run", disable=None if progress else True
        ):
            key = (question.name, arm, setting, seed)
            if key not in done:
                workdir = root / "runs" / question.name / f"{arm}-{setting}-{seed}"
                value = question.measure(arm, setting, seed, workdir)
                done[key] = Found(
                    question=question.name, arm=arm, setting=setting, seed=seed, value=value
                )
                _write(path, list(done.values()))
            found.append(done[key])
    return found


def _write(path: Path, found: Sequence[Found]) -> None:
    lines = [json.dumps(dataclasses.asdict(own)) + "\n" for own in found]
    write_file(path, "".join(lines).encode())


def table(found: Sequence[Found], questions: Sequence[Question] = QUESTIONS) -> str:
    """Markdown: a table a question, means and standard errors over the seeds."""
    seeds = sorted({own.seed for own in found})
    blocks = [f"Seeds {', '.join(map(str, seeds))}: mean and standard error."]
    for question in questions:
        lines = [
            f"**{question.name}.** {question.asks}",
            "",
            f"| {question.value}, by {question.setting} | {' | '.join(question.settings)} |",
            "|---" * (len(question.settings) + 1) + "|",
        ]
        for arm in question.arms:
            cells = [_cell(_values(found, question, arm, own)) for own in question.settings]
            lines.append(f"| {arm} | " + " | ".join(cells) + " |")
        if question is factorization.QUESTION:
            cells = [f"{bound(own):,.0f}" for own in question.settings]
            lines.append("| bound, / C | " + " | ".join(cells) + " |")
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks) + "\n"


def _values(
    found: Sequence[Found], question: Question, arm: str, setting: str
) -> list[float | None]:
    key = (question.name, arm, setting)
    return [own.value for own in found if (own.question, own.arm, own.setting) == key]


def _cell(values: Sequence[float | None]) -> str:
    reached = [value for value in values if value is not None]
    if len(reached) < len(values):
        return f"{len(values) - len(reached)} of {len(values)} not reached"
    mean, error = mean_and_error(reached)
    text = f"{mean:,.0f}" if mean >= 100 else f"{mean:.3g}"
    return text if math.isnan(error) else f"{text} ± {error:.2g}"


def figure(found: Sequence[Found], questions: Sequence[Question] = QUESTIONS) -> Figure:
    """A panel a question: a line an arm over its settings, a dot a seed."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        picture = Figure(figsize=(12, 3.4), layout="tight")
        axes = picture.subplots(1, len(questions), squeeze=False)[0]
        for axis, question in zip(axes, questions, strict=True):
            for arm, colour in zip(question.arms, COLOURS * 9, strict=False):
                each = [_values(found, question, arm, own) for own in question.settings]
                dots = [(i, v) for i, own in enumerate(each) for v in own if v is not None]
                axis.plot([i for i, _ in dots], [v for _, v in dots], ".", color=colour, ms=4)
                means = [np.mean([v for v in own if v is not None] or [np.nan]) for own in each]
                axis.plot(range(len(each)), means, color=colour, label=arm)
            if question is factorization.QUESTION:
                bound = [
                    float(s) ** 2 * math.log(1 / factorization.EPSILON) for s in question.settings
                ]
                axis.plot(range(len(bound)), bound, ":", color="grey", label="bound / C")
            if question.log:
                axis.set_yscale("log")
            axis.set_title(question.name, fontsize=9)
            axis.set_ylabel(question.value, fontsize=8)
            axis.set_xlabel(question.setting, fontsize=8)
            axis.set_xticks(range(len(question.settings)), question.settings, fontsize=8)
            axis.tick_params(axis="y", labelsize=7)
            axis.legend(fontsize=7, loc="upper center", bbox_to_anchor=(0.5, -0.18), ncol=2)
            axis.spines[["top", "right"]].set_visible(False)
    return picture


def write(
    found: Sequence[Found], root: Path, questions: Sequence[Question] = QUESTIONS
) -> list[Path]:
    """ROOT/convergence.md, .png and .svg."""
    return write_page("convergence", table(found, questions), figure(found, questions), root)
