"""Plots of a classification: which classes are taken for which, and how each fared."""

import io

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from imp_eval.evaluation.results import ClassScore, TaskResult

# More classes than that, and their names would overlap.
_NAMED = 40
_NUMBERED = 16
_SHOWN = 40
_BLUE, _GREY = "#1f5fbf", "#b9c4d6"


def names(task: TaskResult) -> list[str]:
    """Those that `of` draws."""
    kinds = [*(["confusion"] if task.confusion is not None else []), "classes"]
    return [f"{task.key}-{kind}" for kind in kinds] if task.classes else []


def of(task: TaskResult) -> dict[str, bytes]:
    """PNGs by name; none for a task without classes."""
    if not task.classes:
        return {}
    figures = []
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        if task.confusion is not None:
            figures.append(_confusion(task.confusion, task.class_names, task.key))
        figures.append(_classes(task.classes, task.key))
        return dict(zip(names(task), [_png(figure) for figure in figures], strict=True))


def _confusion(confusion: np.ndarray, class_names: tuple[str, ...], title: str) -> Figure:
    """Rows are shares of a class's examples."""
    counts = confusion.sum(axis=1, keepdims=True)
    shares = np.divide(confusion, counts, out=np.zeros_like(confusion), where=counts > 0)
    n = len(confusion)
    side = 2.2 + min(n, _NAMED) * 0.24
    figure = Figure(figsize=(side + 0.6, side), layout="tight")
    axis = figure.subplots()
    axis.imshow(shares, cmap="Blues", vmin=0, vmax=1, interpolation="nearest")
    if n <= _NAMED:
        axis.set_xticks(range(n), class_names, rotation=90, fontsize=7)
        axis.set_yticks(range(n), class_names, fontsize=7)
    if n <= _NUMBERED:
        for (row, column), share in np.ndenumerate(shares):
            if share >= 0.005:
                ink = "white" if share > 0.6 else "black"
                text = f"{share:.2f}".lstrip("0") if share < 1 else "1"
                axis.text(column, row, text, ha="center", va="center", color=ink, fontsize=6)
    axis.set_xlabel("answered", fontsize=8)
    axis.set_ylabel("true", fontsize=8)
    axis.set_title(title, fontsize=9)
    return figure


def _classes(classes: tuple[ClassScore, ...], title: str) -> Figure:
    """A bar a class, best first; of many classes the best and the worst."""
    ranked = sorted(classes, key=lambda score: (-score.value, score.name))
    shown = ranked
    if len(ranked) > _SHOWN:
        shown = [*ranked[: _SHOWN // 2], *ranked[-_SHOWN // 2 :]]
        title += f" ({_SHOWN // 2} best and worst of {len(ranked)})"
    figure = Figure(figsize=(6, 0.8 + 0.18 * len(shown)), layout="tight")
    axis = figure.subplots()
    places = range(len(shown))
    axis.barh(places, [1] * len(shown), color=_GREY, alpha=0.35, height=0.7)
    axis.barh(places, [score.value for score in shown], color=_BLUE, height=0.7)
    axis.set_yticks(places, [f"{score.name} ({score.n})" for score in shown], fontsize=7)
    axis.set_xlim(0, 1)
    axis.set_ylim(len(shown) - 0.5, -0.5)
    axis.tick_params(axis="x", labelsize=7)
    axis.spines[["top", "right"]].set_visible(False)
    axis.set_title(title, fontsize=9)
    return figure


def _png(figure: Figure) -> bytes:
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=120)
    return picture.getvalue()
