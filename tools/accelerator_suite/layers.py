"""Layers alone: MoE beside the dense FFN, attention's implementations, our experts beside XLA's."""

import dataclasses
import statistics
from collections.abc import Callable, Mapping
from typing import Any

import jax

from accelerator_suite import drawn, timing
from accelerator_suite.suite import Suite
from benchmarks.programs import value_and_gradient
from imp_model.feed_forward import FeedForward
from imp_model.init import Init
from imp_model.kernels.attention import attend
from imp_model.kernels.experts import fused_experts
from imp_model.kernels.gathered import gathered_experts
from imp_model.moe import MoE

_PASSES: dict[str, Callable[..., Any]] = {
    "forward": lambda function: function,
    "forward and backward": value_and_gradient,
}


def moe_beside_dense(suite: Suite, tokens: int) -> None:
    """One layer each, of equal FLOPs, in bfloat16 with float32 parameters."""
    config = dataclasses.replace(suite.shapes.moe, dtype="bfloat16")
    shape = (suite.shapes.layer_batch, tokens, config.width)
    x = jax.random.normal(jax.random.key(0), shape, "bfloat16")
    moe = MoE(config, Init.seeded(0, "moe"))
    dense = FeedForward(config, Init.seeded(0, "dense"))

    def routed(layer: MoE, x: jax.Array) -> jax.Array:
        return layer(x, None)[0]

    def plain(layer: FeedForward, x: jax.Array) -> jax.Array:
        return layer(x)

    flops = 4.0 * suite.shapes.layer_batch * tokens * config.width * config.mlp
    for name, change in _PASSES.items():
        arms = {"moe": (change(routed), moe, x), "dense": (change(plain), dense, x)}
        _compare(suite, f"MoE layer, {tokens} tokens, {name}", arms, "moe", "dense", flops)


def attention(suite: Suite, tokens: int) -> None:
    """Both implementations, where there are two; bfloat16, no padding."""
    batch = max(1, suite.shapes.layer_batch * suite.shapes.layer_tokens[0] // tokens)
    q, k, v = drawn.attention(suite.shapes.dense, batch, tokens, "bfloat16")
    flops = 4.0 * q.size * tokens
    kinds = ("xla", "cudnn") if suite.on_gpu else ("xla",)
    for name, change in _PASSES.items():
        arms = {}
        for kind in kinds:

            def run(q: Any, k: Any, v: Any, kind: str = kind) -> jax.Array:
                return attend(q, k, v, None, implementation=kind)

            arms[kind] = (change(run), q, k, v)
        what = f"attention, {batch} x {tokens} tokens, {name}"
        _compare(suite, what, arms, kinds[-1], kinds[0], flops)


def own_experts(suite: Suite, tokens: int) -> None:
    """The fused kernel beside XLA's gather, products and scatter; below 1 is a gain."""
    config = suite.shapes.moe
    groups = max(1, suite.shapes.layer_batch * suite.shapes.layer_tokens[0] // tokens)
    drew = drawn.experts(config, groups, tokens, "bfloat16")
    flops = 4.0 * groups * tokens * config.width * config.mlp
    interpret = None if suite.on_gpu else "gpu"

    def fused(x: Any, gates: Any, up: Any, down: Any) -> jax.Array:
        return fused_experts(x, drew.token, gates, up, down, interpret=interpret)

    def xla(x: Any, gates: Any, up: Any, down: Any) -> jax.Array:
        return gathered_experts(x, drew.token, gates, up, down)

    for name, change in _PASSES.items():
        arms = {
            label: (change(function), drew.x, drew.gates, drew.up, drew.down)
            for label, function in (("own kernel", fused), ("xla", xla))
        }
        what = f"experts, {groups} x {tokens} tokens, {name}"
        _compare(suite, what, arms, "own kernel", "xla", flops)


def _compare(
    suite: Suite,
    what: str,
    functions: Mapping[str, tuple[Any, ...]],
    one: str,
    other: str,
    flops: float,
) -> None:
    """`flops` are the forward pass's; backward costs twice as many."""
    arms = {
        name: timing.of(suite.compiled(function, *arguments), *arguments)
        for name, (function, *arguments) in functions.items()
    }
    times = suite.in_turns(arms)
    if what.endswith("backward"):
        flops *= 3
    for name, seconds in times.items():
        median = statistics.median(seconds)
        rate = {"teraflops": flops / median / 1e12}
        suite.report.row(f"{what}: {name}", 1e3 * median, "ms", detail=rate)
    if one != other:
        ratio = timing.ratio(times[one], times[other])
        suite.report.row(f"{what}: {one} to {other}", ratio, "x")
