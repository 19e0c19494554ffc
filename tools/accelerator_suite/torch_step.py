"""The same dense contrastive step in PyTorch: `torch.compile`, SDPA, fused Adam; side by side."""

import importlib
import statistics
import time
import warnings
from typing import Any

import numpy as np

from accelerator_suite import timing
from accelerator_suite.report import Skipped
from accelerator_suite.steps import OPTIMIZER, Step
from accelerator_suite.suite import Suite
from accelerator_suite.torch_model import network


def beside_ours(suite: Suite) -> None:
    """Our step's knobs, batch and parameters, by turns; above 1 ours is faster."""
    try:
        torch = importlib.import_module("torch")
    except ModuleNotFoundError as error:
        raise Skipped(str(error)) from error
    device = "cuda" if suite.on_gpu else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise Skipped(f"PyTorch {torch.__version__} sees no GPU")
    ours: Step = suite.steps.get("dense") or Step(suite, "dense", suite.knobs_now())
    torch.set_float32_matmul_precision("high")
    if device == "cpu":
        # Its threads wait for one another by spinning: on a busy machine a step takes minutes.
        torch.set_num_threads(1)
    theirs = network(torch, suite.model("dense"), device).to(device)
    pixels, ids = (
        torch.from_numpy(np.array(ours.batch.inputs[name])).to(device) for name in ("image", "text")
    )
    ids = ids.long()
    # Before either has moved far: the two would else not be doing the same work.
    with torch.no_grad():
        loss, expected = float(theirs(pixels, ids)), ours.loss()
    off = abs(loss - expected) / abs(expected)
    suite.report.row(
        "PyTorch's loss, off ours", off, at_most=0.02, detail={"ours": expected, "theirs": loss}
    )

    run = theirs
    if suite.shapes.torch_compiled:
        began = time.perf_counter()
        run = torch.compile(theirs)
    adam = torch.optim.Adam(theirs.parameters(), lr=OPTIMIZER.peak_rate, fused=device == "cuda")

    def step() -> None:
        adam.zero_grad(set_to_none=True)
        run(pixels, ids).backward()
        torch.nn.utils.clip_grad_norm_(theirs.parameters(), OPTIMIZER.clip_norm)
        adam.step()

    def wait(_: Any) -> None:
        if device == "cuda":
            torch.cuda.synchronize()

    arm = timing.Arm(run=step, wait=wait)
    if suite.shapes.torch_compiled:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            arm.seconds(1)
        seconds = time.perf_counter() - began
        suite.report.sections[-1].compile_seconds += seconds
        suite.report.row("torch.compile, first step with it", seconds, "s")
    times = suite.in_turns({"ours": ours.arm(), "theirs": arm})
    for name, each in times.items():
        median = statistics.median(each)
        label = {"ours": "imp-dense", "theirs": f"PyTorch {torch.__version__}"}[name]
        suite.report.row(f"{label}: step", 1e3 * median, "ms", detail={"knobs": str(ours.knobs)})
        suite.report.row(f"{label}: rate", ours.tokens / median, "tokens/s")
        if suite.rate is not None:
            mfu = ours.flops / median / suite.rate
            suite.report.row(f"{label}: MFU of the measured bf16 rate", mfu, "%")
    suite.report.row(
        "PyTorch's step to ours",
        timing.ratio(times["theirs"], times["ours"]),
        "x",
        at_least=1.0 if suite.shapes.judged else None,
    )
