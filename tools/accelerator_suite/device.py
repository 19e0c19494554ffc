"""The device's own ceilings, measured in the same run: what every other figure is held against."""

import jax
import jax.numpy as jnp

from accelerator_suite import timing
from accelerator_suite.suite import Suite
from imp_train.chips import of_kind


def ceilings(suite: Suite) -> None:
    """bfloat16 products of random squares (zeros run faster), and a copy within the memory."""
    chip = of_kind(jax.devices()[0].device_kind)
    best = 0.0
    for n in suite.shapes.matmuls:
        keys = jax.random.split(jax.random.key(n), 2)
        a, b = (jax.random.normal(key, (n, n), jnp.bfloat16) for key in keys)
        program = suite.compiled(lambda a, b: a @ b, a, b)
        rate = 2.0 * n**3 / suite.median(timing.of(program, a, b))
        suite.report.row(f"bf16 product of {n} x {n}", rate / 1e12, "TFLOP/s")
        best = max(best, rate)
    suite.rate = best
    nominal = {} if chip is None else {"nominal": chip.peak_flops}
    suite.report.row("best bf16 product", best / 1e12, "TFLOP/s", detail=nominal)
    if chip is not None:
        suite.report.row("of the nominal peak", best / chip.peak_flops, "%")

    x = jnp.arange(suite.shapes.copy_bytes // 4, dtype=jnp.float32)
    program = suite.compiled(lambda x: x + 1, x)
    seconds = suite.median(timing.of(program, x))
    suite.report.row("memory, read and written", 2 * x.nbytes / seconds / 1e12, "TB/s")
