"""The sections in order of worth, and what each takes of the time."""

import functools
from collections.abc import Callable, Sequence
from typing import TypeAlias

from accelerator_suite import (
    device,
    exactness,
    layers,
    oracles,
    serving,
    torch_step,
    training,
)
from accelerator_suite.suite import Suite

# A name, what it runs, and about how many seconds it takes at most on one large GPU.
Section: TypeAlias = tuple[str, Callable[[Suite], None], Callable[[Suite], float]]


def _about(seconds: float) -> Callable[[Suite], float]:
    return lambda suite: seconds


def _steps(count: float) -> Callable[[Suite], float]:
    """Of so many steps compiled, as long as the first one took."""
    return lambda suite: count * suite.compile_seconds + 8


def sections(suite: Suite) -> Sequence[Section]:
    shapes = suite.shapes
    found: list[Section] = [
        ("device", device.ceilings, _about(15)),
        ("oracles: cuDNN attention", oracles.cudnn_attention, _about(20)),
        ("training", training.pair, _about(60)),
        ("PyTorch", torch_step.beside_ours, _about(40)),
        ("oracles: XLA attention", oracles.xla_attention, _about(15)),
        ("oracles: XLA experts", oracles.xla_experts, _about(15)),
    ]
    for dtype in ("bfloat16", "float32"):
        run = functools.partial(exactness.invariance, dtype=dtype, options={})
        found.append((f"batch invariance, {dtype}", run, _about(20)))
    found += [
        (f"knob {_named(change)}", functools.partial(training.knob, change=change), _steps(1))
        for change in shapes.tries[:3]
    ]
    tokens = shapes.layer_tokens
    found += [
        (f"MoE layer, {n} tokens", functools.partial(layers.moe_beside_dense, tokens=n), _about(15))
        for n in tokens
    ]
    found.append(("serving", serving.throughput, _about(25)))
    found += [
        (f"attention, {n} tokens", functools.partial(layers.attention, tokens=n), _about(12))
        for n in tokens
    ]
    found += [
        ("training at its best", training.best, _steps(2)),
        ("training fed from the host", training.fed, _about(6)),
    ]
    found += [
        (f"knob {_named(change)}", functools.partial(training.knob, change=change), _steps(1))
        for change in shapes.tries[3:5]
    ]
    flags = exactness.DETERMINISTIC
    for dtype in ("bfloat16", "float32"):
        run = functools.partial(exactness.invariance, dtype=dtype, options=flags)
        found.append((f"batch invariance, {dtype}, deterministic", run, _about(20)))
    found += [
        ("gradients twice", functools.partial(exactness.repeatability, options={}), _steps(0)),
        (
            "gradients twice, deterministic",
            functools.partial(exactness.repeatability, options=flags),
            _steps(1.3),
        ),
        # A kernel's stray access ends the process, or leaves the GPU useless to it: late, then.
        ("oracles: own experts", oracles.own_experts, _about(15)),
    ]
    found += [
        (f"own kernel, {n} tokens", functools.partial(layers.own_experts, tokens=n), _about(15))
        for n in tokens
    ]
    found.append(("oracles: dense trunk", oracles.trunk, _about(30)))
    found += [
        (f"knob {_named(change)}", functools.partial(training.knob, change=change), _steps(1))
        for change in shapes.tries[5:]
    ]
    return found


def _named(change: object) -> str:
    assert isinstance(change, dict)
    return ", ".join(f"{name}={value}" for name, value in change.items())
