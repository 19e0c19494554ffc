"""The kernels against their oracles, values and gradients, in float32 and bfloat16.

An oracle runs on the host's CPU in float32, on the same rounded inputs. The error is the norm of
the difference to that of the oracle's. "float32" is with products in full precision; "float32, as
it runs" with the device's default, which on NVIDIA is TF32 of 10 bits.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from accelerator_suite import drawn
from accelerator_suite.report import Skipped
from accelerator_suite.suite import Suite, recast
from imp_model.kernels.attention import attend
from imp_model.kernels.experts import fused_experts
from imp_model.kernels.gathered import gathered_experts
from imp_model.kernels.reference import one_hot_moe

# Precision, dtype, the largest error.
DTYPES: dict[str, tuple[str | None, str, float]] = {
    "float32": ("highest", "float32", 1e-5),
    "float32, as it runs": (None, "float32", 2e-3),
    "bfloat16": (None, "bfloat16", 2e-2),
}


def xla_attention(suite: Suite) -> None:
    for dtype in DTYPES:
        _attention(suite, "xla", dtype)


def cudnn_attention(suite: Suite) -> None:
    """The steps that follow take it where it is right."""
    if not suite.on_gpu:
        raise Skipped(f"cuDNN needs an NVIDIA GPU, and this is a {jax.default_backend()}")
    if max(_attention(suite, "cudnn", "bfloat16")) <= DTYPES["bfloat16"][2]:
        suite.attention = "cudnn"


def xla_experts(suite: Suite) -> None:
    for dtype in DTYPES:
        _experts(suite, "xla", dtype, gathered_experts)


def own_experts(suite: Suite) -> None:
    """Step by step where there is no GPU."""
    kernel = functools.partial(fused_experts, interpret=None if suite.on_gpu else "gpu")
    # Triton's products take their own precision: full float32 is not asked of them.
    for dtype in ("float32, as it runs", "bfloat16"):
        _experts(suite, "own kernel", dtype, kernel)


def trunk(suite: Suite) -> None:
    """Pooled embeddings of the dense model, whose program the device compiles as a whole."""
    images = suite.images(2, suite.shapes.knobs.image)
    dense = suite.model("dense")

    def embed(model: Any, images: jax.Array) -> jax.Array:
        return model.encode({"image": images})[0]["image"]

    own = {"dtype": "float32", "remat": "none", "attention": "xla"}
    exact = recast(dense, **own)
    want = _on_cpu(embed, exact, images)
    for dtype, (precision, name, most) in DTYPES.items():
        model = recast(dense, **own | {"dtype": name})
        with jax.default_matmul_precision(precision):
            got = suite.compiled(embed, model, images)(model, images)
        # Twelve layers' rounding adds up.
        suite.report.row(f"dense trunk, {dtype}", _error(got, want), at_most=2 * most)


def _attention(suite: Suite, implementation: str, name: str) -> list[float]:
    precision, dtype, most = DTYPES[name]
    config, errors = suite.shapes.dense, []
    tokens = 2 * (suite.shapes.layer_tokens[0] // 2)
    q, k, v = drawn.attention(config, 2, tokens, dtype)
    for masked in (False, True):
        mask = jnp.arange(tokens) < jnp.array([[tokens], [tokens // 2 + 1]]) if masked else None

        def both(q: Any, k: Any, v: Any, mask: Any, implementation: str = implementation) -> Any:
            def score(q: Any, k: Any, v: Any) -> Any:
                y = attend(q, k, v, mask, implementation=implementation)
                return _score(y), y

            return jax.grad(score, (0, 1, 2), has_aux=True)(q, k, v)

        with jax.default_matmul_precision(precision):
            grads, values = suite.compiled(both, q, k, v, mask)(q, k, v, mask)
        want_grads, want = _on_cpu(functools.partial(both, implementation="xla"), q, k, v, mask)
        kind = "with padding" if masked else "plain"
        found = {"values": _error(values, want)}
        for letter, got, expected in zip("qkv", grads, want_grads, strict=True):
            found[f"d{letter}"] = _error(got, expected)
        errors.append(max(found.values()))
        suite.report.row(
            f"attention {implementation}, {name}, {kind}", errors[-1], at_most=most, detail=found
        )
    return errors


def _experts(suite: Suite, label: str, name: str, layer: Callable[..., Any]) -> None:
    precision, dtype, most = DTYPES[name]
    drew = drawn.experts(suite.shapes.moe, 2, suite.shapes.layer_tokens[0], dtype, empty=0.2)
    live = np.asarray(drew.gates) > 0

    def both(layer: Callable[..., Any], x: Any, token: Any, gates: Any, up: Any, down: Any) -> Any:
        def score(x: Any, gates: Any, up: Any, down: Any) -> Any:
            y = layer(x, token, gates, up, down)
            return _score(y), y

        return jax.grad(score, (0, 1, 2, 3), has_aux=True)(x, gates, up, down)

    with jax.default_matmul_precision(precision):
        grads, values = suite.compiled(functools.partial(both, layer), *drew)(*drew)
    want_grads, want = _on_cpu(functools.partial(both, one_hot_moe), *drew)
    found = {"values": _error(values, want)}
    for what, got, expected in zip(("x", "gates", "up", "down"), grads, want_grads, strict=True):
        # An empty slot's gate has no gradient in the oracle.
        shown = (np.where(live, each, 0) if what == "gates" else each for each in (got, expected))
        found[f"d{what}"] = _error(*shown)
    suite.report.row(f"experts {label}, {name}", max(found.values()), at_most=most, detail=found)


def _score(y: jax.Array) -> jax.Array:
    """With a gradient that differs from element to element."""
    y = y.astype(jnp.float32)
    return (y * jnp.cos(jnp.arange(y.size, dtype=jnp.float32)).reshape(y.shape)).sum()


def _on_cpu(function: Callable[..., Any], *arguments: Any) -> Any:
    """In float32, on the arguments as they were rounded."""

    def exact(leaf: Any) -> Any:
        leaf = np.asarray(leaf)
        return leaf.astype(np.float32) if leaf.dtype == jnp.bfloat16 else leaf

    cpu = jax.devices("cpu")[0]
    arguments = jax.device_put(jax.tree.map(exact, arguments), cpu)
    with jax.default_device(cpu), jax.default_matmul_precision("highest"):
        return jax.tree.map(np.asarray, jax.jit(function)(*arguments))


def _error(got: Any, want: Any) -> float:
    got, want = (np.asarray(each, np.float64) for each in (got, want))
    return float(np.linalg.norm(got - want) / np.linalg.norm(want))
