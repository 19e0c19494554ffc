"""Programs compiled in processes of their own: here, or ahead of time for TPU v4 with no TPU."""

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

# Where libtpu is installed, JAX asks for the hardware even if it is to run on the CPU.
_ENVIRONMENT = {
    "JAX_PLATFORMS": "cpu",
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_ACCELERATOR_TYPE": "v4-8",
    "TPU_WORKER_HOSTNAMES": "localhost",
    # Its lock file is for who would drive a TPU; a compiler shares.
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
}


def why_no_tpu() -> str | None:
    """How to get libtpu where it is missing."""
    if importlib.util.find_spec("libtpu") is not None:
        return None
    return "without TPU v4, for libtpu is missing; to include it: pip install libtpu"


def compile_encoder(
    platform: str, config: Mapping[str, Any], batch: int, tokens: int
) -> tuple[float, float, float]:
    """What `benchmarks.compiling` prints of one program: CPU seconds of tracing and of compiling,
    bytes of temporaries. Raises CalledProcessError, with its messages shown, if it fails."""
    arguments = (platform, json.dumps(config), str(batch), str(tokens))
    command = [sys.executable, "-P", "-m", "benchmarks.compiling", *arguments]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    if platform != "gpu":
        environment |= _ENVIRONMENT
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    traced, compiled, temporaries = map(float, done.stdout.splitlines()[-1].split())
    return traced, compiled, temporaries
