"""`python -m accelerator_suite`, from `tools`: measures the GPU at hand, prints one table.

    PYTHONPATH=tools python3 -m accelerator_suite --out accelerator.json

The environment's own packages are taken; what it lacks is looked for in `.accelerator` (see
`bring`). Returns 1 where a section failed or was cut, after all others have run.
"""

import argparse
import datetime
import functools
import importlib.metadata
import os
import platform
import sys
import threading
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("imp-proto", "imp-data", "imp-model", "imp-train", "imp-eval")
CARRIED = ROOT / ".accelerator"


def main(arguments: list[str] | None = None) -> int:
    options = _options(arguments)
    prepare(tiny=options.tiny)
    from accelerator_suite.report import Report
    from accelerator_suite.sections import sections
    from accelerator_suite.shapes import FULL, TINY
    from accelerator_suite.suite import Suite

    report = Report(options.out, _about(tiny=options.tiny), options.minutes)
    clock = threading.Timer(max(1.0, report.left), _cut, [report])
    clock.daemon = True
    clock.start()
    suite = Suite(TINY if options.tiny else FULL, report)
    wanted = [name.casefold() for name in options.only]
    for name, run, needs in sections(suite):
        if wanted and not any(name.casefold().startswith(each) for each in wanted):
            continue
        needed = 0 if options.tiny else needs(suite)
        report.run(name, functools.partial(run, suite), needs=needed)
    clock.cancel()
    report.finish()
    return 0 if report.sound else 1


def _options(arguments: list[str] | None) -> argparse.Namespace:
    # argparse: the machine that this is for may have no tyro.
    parser = argparse.ArgumentParser(prog="accelerator_suite", description=__doc__)
    parser.add_argument("--minutes", type=float, default=9.0, help="ends within so many")
    parser.add_argument("--out", type=Path, default=None, help="the JSON file")
    parser.add_argument("--tiny", action="store_true", help="all of it at no size, on a CPU")
    parser.add_argument(
        "--only", nargs="+", default=[], metavar="NAME", help="sections whose names begin so"
    )
    options = parser.parse_args(arguments)
    if options.minutes <= 0:
        parser.error(f"--minutes {options.minutes} must be above 0")
    return options


def prepare(*, tiny: bool) -> None:
    """Before JAX is imported."""
    sys.path[:0] = [str(ROOT / "packages" / name / "src") for name in PACKAGES]
    # Last: what the machine has fits its own Python and its own JAX.
    sys.path.append(str(CARRIED))
    if tiny:
        os.environ.setdefault("JAX_PLATFORMS", "cpu")
    # The rest is PyTorch's.
    os.environ.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", "0.65")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


def _about(*, tiny: bool) -> dict[str, Any]:
    import jax

    device = jax.devices()[0]
    versions = {}
    for name in ("jax", "jaxlib", "flax", "optax", "numpy", "torch", "jaxtyping"):
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = "none"
    about = {
        "tiny": tiny,
        "device": device.device_kind,
        "platform": device.platform,
        "devices": jax.device_count(),
        "cpus": os.cpu_count(),
        "python": platform.python_version(),
        "versions": versions,
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
        "when": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }
    named = ", ".join(f"{name} {version}" for name, version in versions.items())
    print(f"{about['device']}, Python {about['python']}, {named}", flush=True)
    return about


def _cut(report: Any) -> None:
    """A compilation can't be interrupted; what is known by now is kept."""
    report.finish()
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
