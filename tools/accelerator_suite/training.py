"""Training steps: MoE beside dense, one knob after another, and the best of them together."""

import dataclasses
import statistics
import time
from collections.abc import Mapping
from typing import Any

import jax

from accelerator_suite import timing
from accelerator_suite.report import Skipped
from accelerator_suite.shapes import Knobs
from accelerator_suite.steps import Step
from accelerator_suite.suite import Suite
from imp_train.chips import of_kind

# The owner's aims.
MFU = {"moe": 0.45, "dense": 0.50}
MOE_TO_DENSE = 1.05
# A knob that gains less is not worth turning.
_GAIN = 1.01


def pair(suite: Suite) -> None:
    """The MoE model and the dense one of equal FLOPs, step by step in turns."""
    _pair(suite, suite.knobs_now())


def knob(suite: Suite, change: Mapping[str, Any]) -> None:
    """The MoE step with one knob turned, beside the step as it stands."""
    if suite.base is None:
        raise Skipped("there is no step to compare with")
    knobs = dataclasses.replace(suite.base.knobs, **change)
    if knobs == suite.base.knobs:
        raise Skipped(f"the step has it already: {knobs}")
    step = _step(suite, "moe", knobs)
    times = suite.in_turns({"base": suite.base.arm(), "tried": step.arm()})
    seconds = statistics.median(times["tried"])
    per_flop = timing.ratio(times["tried"], times["base"]) * suite.base.flops / step.flops
    name = ", ".join(f"{knob}={value}" for knob, value in change.items())
    _rate_rows(suite, f"imp-moe with {name}", step, seconds)
    suite.report.row(f"{name}: time of equal work to the base's", per_flop, "x")
    mib, base = (s.program.temporaries / 2**20 for s in (step, suite.base))
    suite.report.row(f"{name}: temporaries", mib, "MiB", detail={"base": base})
    # Memory is traded, not chosen for speed; and one picture size is another's task.
    if 1 / per_flop > _GAIN and "image" not in change:
        taken = suite.gains.get(next(iter(change)))
        if taken is None or taken[0] < 1 / per_flop:
            suite.gains[next(iter(change))] = (1 / per_flop, change)


def best(suite: Suite) -> None:
    """All knobs that gained, together, and the dense model with the same."""
    if not suite.gains:
        raise Skipped(f"no knob gained {_GAIN - 1:.0%}: the base is the best")
    changes: dict[str, Any] = {}
    for _, change in suite.gains.values():
        changes |= change
    _pair(suite, dataclasses.replace(suite.base.knobs, **changes))


def fed(suite: Suite) -> None:
    """What it costs to bring each batch from the host."""
    if suite.base is None:
        raise Skipped("there is no step to compare with")
    times = suite.in_turns({"held": suite.base.arm(), "fed": suite.base.fed_arm()})
    suite.report.row(
        "time with batches from the host to batches on the device",
        timing.ratio(times["fed"], times["held"]),
        "x",
    )


def _pair(suite: Suite, knobs: Knobs) -> None:
    suite.report.row("knobs", str(knobs), detail=dataclasses.asdict(knobs))
    steps = {name: _step(suite, name, knobs) for name in ("moe", "dense")}
    section = suite.report.sections[-1]
    suite.compile_seconds = steps["moe"].program.seconds
    for name, step in steps.items():
        suite.report.row(f"imp-{name}: compiled in", step.program.seconds, "s")
    warm = _warm(steps)
    section.compile_seconds += warm
    suite.report.row("both: two steps, what was not compiled yet with them", warm, "s")
    times = suite.in_turns({name: step.arm() for name, step in steps.items()})
    suite.base, suite.steps = steps["moe"], steps
    for name, step in steps.items():
        _rate_rows(suite, f"imp-{name}", step, statistics.median(times[name]), MFU[name])
        mib = step.program.temporaries / 2**20
        suite.report.row(f"imp-{name}: temporaries", mib, "MiB")
    ratio = timing.ratio(times["moe"], times["dense"])
    suite.report.row(
        "MoE step to dense step",
        ratio,
        "x",
        at_most=MOE_TO_DENSE if suite.shapes.judged else None,
        detail={"flops": steps["moe"].flops / steps["dense"].flops},
    )
    apart = {f"{name} gradients": step.gradients_arm() for name, step in steps.items()}
    only = suite.in_turns(apart)
    suite.report.row(
        "MoE gradients to dense gradients, no update",
        timing.ratio(only["moe gradients"], only["dense gradients"]),
        "x",
    )


def _step(suite: Suite, name: str, knobs: Knobs) -> Step:
    """Compiled once: the best knobs may be those of a try."""
    if (name, knobs) not in suite.compiled_steps:
        suite.compiled_steps[name, knobs] = Step(suite, name, knobs)
    return suite.compiled_steps[name, knobs]


def _warm(steps: Mapping[str, Step]) -> float:
    began = time.perf_counter()
    for step in steps.values():
        step.warm()
    return time.perf_counter() - began


def _rate_rows(
    suite: Suite, label: str, step: Step, seconds: float, aim: float | None = None
) -> None:
    report = suite.report
    detail = {"flops": step.flops} | dataclasses.asdict(step.knobs)
    report.row(f"{label}: step", 1e3 * seconds, "ms", detail=detail)
    report.row(f"{label}: rate", step.tokens / seconds, "tokens/s")
    aim = aim if suite.shapes.judged else None
    if suite.rate is not None:
        mfu = step.flops / seconds / suite.rate
        report.row(f"{label}: MFU of the measured bf16 rate", mfu, "%", at_least=aim)
    chip = of_kind(jax.devices()[0].device_kind)
    if chip is not None:
        mfu = step.flops / seconds / chip.peak_flops
        report.row(f"{label}: MFU of the nominal peak", mfu, "%")
