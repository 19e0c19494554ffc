"""Bit for bit: an embedding in any company, a gradient computed twice; and XLA's flags for it."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from accelerator_suite import timing
from accelerator_suite.steps import Step
from accelerator_suite.suite import PAIR, Suite, recast

# XLA's own flag: no atomic additions, and the same kernel picked every time.
DETERMINISTIC: Mapping[str, Any] = {"xla_gpu_deterministic_ops": True}


def invariance(suite: Suite, dtype: str, options: Mapping[str, Any]) -> None:
    """One picture and one text in every row, each time among others, through one program."""
    shapes = suite.shapes
    attention = suite.attention if dtype == "bfloat16" else "xla"
    model = recast(suite.model("moe"), dtype=dtype, attention=attention)
    size = shapes.exact_batch
    draws = {
        "image": lambda count: suite.images(count, shapes.knobs.image),
        "text": lambda count: suite.texts(count, shapes.text),
    }
    for modality, pair in (("image", PAIR), ("text", PAIR[::-1])):
        draw = draws[modality]

        def embed(model: Any, x: jax.Array, modality: str = modality, pair: Any = pair) -> Any:
            return model.embed(modality, x, pair)

        one = draw(1)
        program = suite.compiled(embed, model, draw(size), options=options)
        found = set()
        for row in range(size):
            batch = draw(size)
            batch[row] = one[0]
            found.add(np.asarray(program(model, batch))[row].tobytes())
        kinds = len(found)
        said = "bit-equal" if kinds == 1 else f"{kinds} different of {size}"
        suite.report.row(
            f"{modality} in {size} companies, {dtype}{_named(options)}",
            said,
            aim="bit-equal",
            met=kinds == 1,
        )


def repeatability(suite: Suite, options: Mapping[str, Any]) -> None:
    """The MoE model's gradients of one batch, twice from one program."""
    step = suite.base
    if options or step is None:
        step = Step(suite, "moe", suite.knobs_now(), options=options)
    first, second = (
        [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(step.gradients())] for _ in range(2)
    )
    different = sum(a != b for a, b in zip(first, second, strict=True))
    said = "bit-equal" if not different else f"{different} of {len(first)} arrays differ"
    # Asked for only where it was asked of XLA.
    suite.report.row(
        f"gradients twice{_named(options)}",
        said,
        aim="bit-equal" if options else "",
        met=different == 0 if options else None,
    )
    plain = suite.compiled_steps.get(("moe", step.knobs))
    if options and plain is not None:
        arms = {"plain": plain.gradients_arm(), "deterministic": step.gradients_arm()}
        times = suite.in_turns(arms)
        against = timing.ratio(times["deterministic"], times["plain"])
        suite.report.row("time of deterministic gradients to plain", against, "x")


def _named(options: Mapping[str, Any]) -> str:
    return ", deterministic flags" if options else ""
