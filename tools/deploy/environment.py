"""Environments made by uv, which is told what pip is told."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_OPTIONS = {"--default-index": "UV_DEFAULT_INDEX", "--index": "UV_INDEX"}
_OPTIONS |= {"--find-links": "UV_FIND_LINKS"}


def variables() -> dict[str, str]:
    """For a process that calls uv."""
    found = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
    settings = subprocess.run(
        [sys.executable, ROOT / "tools/pip_settings.py", "uv"],
        check=True,
        capture_output=True,
        text=True,
    )
    for line in settings.stdout.splitlines():
        name, _, value = line.partition("=")
        name = _OPTIONS.get(name, name)
        found[name] = f"{found[name]} {value}" if name == "UV_INDEX" and name in found else value
    return found | {"PYTHON": sys.executable}


def made_with(path: Path, *requirements: str) -> Path:
    """The folder of its commands. Raises CalledProcessError, with what uv said shown."""
    environment = variables()
    create = ["uv", "venv", "--quiet", "--python", sys.executable, str(path)]
    subprocess.run(create, check=True, env=environment)
    environment["VIRTUAL_ENV"] = str(path)
    subprocess.run(["uv", "pip", "install", "--quiet", *requirements], check=True, env=environment)
    return path / "bin"
