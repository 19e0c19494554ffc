"""The shipped experiments: Python functions of a data folder that return an Experiment."""

import functools
import inspect
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

from imp_train.config import Experiment
from imp_train.experiments.ablation import ablation
from imp_train.experiments.pretraining import pretraining
from imp_train.experiments.quickstart import quickstart

EXPERIMENTS: dict[str, Callable[..., Experiment]] = {
    "quickstart": quickstart,
    **{name: functools.partial(ablation, name) for name in ("ablation-s", "ablation-b")},
    **{name: functools.partial(pretraining, name) for name in ("imp-b", "imp-moe-b", "imp-moe-l")},
}


def make(name: str, data: Path, **options: Any) -> Experiment:
    """A shipped experiment, or that of a function of your own, FILE.py:FUNCTION.

    `options` that are None are left to the experiment.
    Raises ValueError naming the known experiments, or the options that this one takes.
    """
    function = _function(name)
    given = {key: value for key, value in options.items() if value is not None}
    taken = inspect.signature(function).parameters
    if not any(p.kind is p.VAR_KEYWORD for p in taken.values()):
        own = [key for key, p in taken.items() if p.kind is p.KEYWORD_ONLY]
        if unknown := [key for key in given if key not in own]:
            has = "it has " + ", ".join(f"--{key}" for key in own) if own else "it has none"
            raise ValueError(f"experiment {name!r} has no --{unknown[0]}; {has}")
    return function(data, **given)


def summary_of(name: str) -> str:
    """Its function's first line, without the full stop."""
    function = _function(name)
    text = inspect.getdoc(getattr(function, "func", function)) or ""
    return text.partition("\n")[0].rstrip(".")


def _function(name: str) -> Callable[..., Experiment]:
    if name in EXPERIMENTS:
        return EXPERIMENTS[name]
    path, _, attribute = name.rpartition(":")
    if not path.endswith(".py"):
        raise ValueError(
            f"experiment {name!r} is unknown; one of {', '.join(EXPERIMENTS)}, or FILE.py:FUNCTION"
        )
    if not Path(path).is_file():
        raise ValueError(f"experiment {name!r}: there is no file {path}")
    found = runpy.run_path(path).get(attribute)
    if not callable(found):
        raise ValueError(f"experiment {name!r}: {path} has no function {attribute!r}")
    return found
