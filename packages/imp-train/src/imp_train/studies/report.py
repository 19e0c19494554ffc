"""What a study found, as a table in Markdown and a figure: means and standard errors over seeds."""

import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from imp_data.stores.atomic import write_file
from imp_train.columns import short
from imp_train.studies.study import Run, Study

COLOURS = ("#1f5fbf", "#c8552d", "#2a8c4a", "#7d4bb0", "#b8860b", "#5a6b7b")
_PANELS = 4
# By arm and column, the value of each seed that did not diverge.
Values = Mapping[str, Mapping[str, Mapping[int, float]]]


def values_of(study: Study, runs: Sequence[Run]) -> dict[str, dict[str, dict[int, float]]]:
    """Every figure shown, and by kind of task the mean of all of them, first."""
    found: dict[str, dict[str, dict[int, float]]] = {}
    for own in runs:
        columns = found.setdefault(own.arm, {})
        kinds: dict[str, list[float]] = {}
        shown = [score for score in own.scores if score.metric in study.metrics]
        for score in shown:
            kinds.setdefault(f"mean {score.task} {score.metric}", []).append(score.value)
        for name, values in kinds.items():
            columns.setdefault(name, {})[own.seed] = float(np.mean(values))
        for score in shown:
            columns.setdefault(score.column, {})[own.seed] = score.value
    return found


def mean_and_error(values: Sequence[float]) -> tuple[float, float]:
    """The standard error of the mean; NaN of a single value."""
    n = len(values)
    error = float(np.std(values, ddof=1)) / math.sqrt(n) if n > 1 else math.nan
    return float(np.mean(values)), error


def table(study: Study, runs: Sequence[Run]) -> str:
    """Markdown: what each arm cost, its figures, and by how much it differs from the first arm."""
    values, arms = values_of(study, runs), list(study.arms)
    seeds = sorted({own.seed for own in runs})
    lines = [
        f"{study.source}: {study.claim}.",
        "",
        f"Seeds {', '.join(map(str, seeds))}: mean and standard error, on held-out data.",
        "",
        "| arm | parameters | steps | tokens | training FLOPs |",
        "|---|---|---|---|---|",
    ]
    for arm in arms:
        own = [run for run in runs if run.arm == arm]
        costs = (own[0].parameters, *(_mean(own, name) for name in ("steps", "tokens", "flops")))
        lines.append(f"| {arm} | " + " | ".join(short(cost) for cost in costs) + " |")
    for arm in arms:
        own = [run for run in runs if run.arm == arm]
        if diverged := [run for run in own if not run.scores]:
            lines += ["", f"{arm}: {len(diverged)} of {len(own)} runs diverged and have no scores."]
    columns = list(dict.fromkeys(name for arm in arms for name in values.get(arm, {})))
    lines += ["", "| held out | " + " | ".join(arms) + " |", "|---" * len(arms) + "|---|"]
    for column in columns:
        cells = [_cell(_of(values, arm, column)) for arm in arms]
        lines.append(f"| {column} | " + " | ".join(cells) + " |")
    lines += ["", f"By how much an arm is above {arms[0]}, seed by seed:", ""]
    lines += ["| held out | " + " | ".join(arms[1:]) + " |", "|---" * (len(arms) - 1) + "|---|"]
    for column in (name for name in columns if name.startswith("mean ")):
        cells = [_cell(_differences(values, column, arms[0], arm), sign=True) for arm in arms[1:]]
        lines.append(f"| {column} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _of(values: Values, arm: str, column: str) -> list[float]:
    return list(values.get(arm, {}).get(column, {}).values())


def _differences(values: Values, column: str, first: str, other: str) -> list[float]:
    """Of the seeds that both have: one that diverged has nothing to compare."""
    a, b = values.get(first, {}).get(column, {}), values.get(other, {}).get(column, {})
    return [b[seed] - a[seed] for seed in a if seed in b]


def _cell(values: Sequence[float], *, sign: bool = False) -> str:
    if not values:
        return ""
    mean, error = mean_and_error(values)
    text = f"{mean:+.3f}" if sign else f"{mean:.3f}"
    return text if math.isnan(error) else f"{text} ± {error:.3f}"


def _mean(runs: Sequence[Run], field: str) -> float:
    return float(np.mean([getattr(own, field) for own in runs]))


def figure(study: Study, runs: Sequence[Run]) -> Figure:
    """A panel a figure: a bar an arm, its standard error, a dot a seed, chance as a line."""
    values, arms = values_of(study, runs), list(study.arms)
    columns = list(dict.fromkeys(name for arm in arms for name in values.get(arm, {})))
    chances = {s.column: s.chance for own in runs for s in own.scores}
    rows = -(-len(columns) // _PANELS)
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        picture = Figure(figsize=(12, 2.4 * rows), layout="tight")
        axes = picture.subplots(rows, _PANELS, squeeze=False)
        for axis in axes.flat[len(columns) :]:
            axis.axis("off")
        for axis, column in zip(axes.flat, columns, strict=False):
            for place, (arm, colour) in enumerate(zip(arms, COLOURS * 9, strict=False)):
                if not (own := _of(values, arm, column)):
                    continue
                mean, error = mean_and_error(own)
                spread = None if math.isnan(error) else error
                axis.bar(place, mean, yerr=spread, color=colour, alpha=0.75, capsize=3)
                axis.plot([place] * len(own), own, ".", color="black", ms=3)
            if (chance := chances.get(column)) is not None:
                axis.axhline(chance, color="grey", lw=0.8, ls=":")
            axis.set_title(column, fontsize=7)
            axis.set_xticks(range(len(arms)), arms, fontsize=6, rotation=20)
            axis.tick_params(axis="y", labelsize=7)
            axis.spines[["top", "right"]].set_visible(False)
    return picture


def write_page(name: str, text: str, picture: Figure, root: Path) -> list[Path]:
    """ROOT/NAME.md, NAME.png and NAME.svg."""
    page = root / f"{name}.md"
    write_file(page, text.encode())
    return [page, *write_picture(name, picture, root)]


def write_picture(name: str, picture: Figure, root: Path) -> list[Path]:
    """ROOT/NAME.png and NAME.svg."""
    written = [root / f"{name}.{kind}" for kind in ("png", "svg")]
    for path in written:
        content = io.BytesIO()
        # Without a date, and with names that are no random numbers, equal results are equal files.
        metadata = {"Date": None} if path.suffix == ".svg" else None
        with matplotlib.rc_context({"svg.hashsalt": name}):
            picture.savefig(content, format=path.suffix[1:], dpi=120, metadata=metadata)
        write_file(path, content.getvalue())
    return written
