"""Hands pip's configuration to the tools that do not read it, uv and Pants.

    python tools/pip_settings.py uv|pants

Prints, one a line, options (--index=...) and variables of the environment (NAME=VALUE), so that
behind a mirror or an own certificate nothing need be configured twice. Whoever has configured the
tool itself (UV_INDEX, PANTS_PYTHON_REPOS_INDEXES, ...) is left alone. Runs on a bare Python 3.9,
before anything is installed.
"""

import ast
import os
import pathlib
import subprocess
import sys
from collections.abc import Mapping

_OWN = {
    "uv": (
        "UV_INDEX",
        "UV_DEFAULT_INDEX",
        "UV_INDEX_URL",
        "UV_EXTRA_INDEX_URL",
        "UV_FIND_LINKS",
        "UV_CONFIG_FILE",
    ),
    "pants": ("PANTS_PYTHON_REPOS_INDEXES", "PANTS_PYTHON_REPOS_FIND_LINKS"),
}
# Later ones win, as in pip.
_SECTIONS = ("global", "install", ":env:")


def settings(listing: str, environment: Mapping[str, str]) -> dict[str, str]:
    """pip's effective settings, from `pip config list` and, where that is silent, from PIP_*."""
    found = {}
    for section in _SECTIONS:
        for line in listing.splitlines():
            key, sign, value = line.partition("=")
            if sign and key.startswith(section + "."):
                found[key[len(section) + 1 :]] = str(ast.literal_eval(value))
    for key, value in environment.items():
        if key.startswith("PIP_") and value:
            found[key[len("PIP_") :].lower().replace("_", "-")] = value
    return found


def uv_options(pip: Mapping[str, str]) -> list[str]:
    """What has uv install from where pip would, extra indexes left out.

    pip takes the best file of all indexes; uv takes a version's files from the first index that has
    it, be the only wheel there one without the library that it should carry.
    """
    options = _cert("SSL_CERT_FILE", pip)
    if _on(pip.get("no-index", "")):
        options.append("--no-index")
    elif pip.get("index-url"):
        options.append(f"--default-index={pip['index-url']}")
    options += [f"--find-links={place}" for place in pip.get("find-links", "").split()]
    options += [f"--allow-insecure-host={h}" for h in pip.get("trusted-host", "").split()]
    return options


def pants_options(pip: Mapping[str, str]) -> list[str]:
    """The same for Pants, whose pip runs isolated."""
    options = _cert("PANTS_CA_CERTS_PATH", pip)
    extra = pip.get("extra-index-url", "").split()
    if _on(pip.get("no-index", "")):
        options.append("PANTS_PYTHON_REPOS_INDEXES=[]")
    elif pip.get("index-url"):
        options.append(f"PANTS_PYTHON_REPOS_INDEXES={[pip['index-url'], *extra]}")
    elif extra:
        options.append(f"PANTS_PYTHON_REPOS_INDEXES=+{extra}")
    places = [
        place if "://" in place else pathlib.Path(place).absolute().as_uri()
        for place in pip.get("find-links", "").split()
    ]
    if places:
        options.append(f"PANTS_PYTHON_REPOS_FIND_LINKS={places}")
    return options


def _on(value: str) -> bool:
    return value.lower() in ("1", "true", "yes", "on")


def _cert(name: str, pip: Mapping[str, str]) -> list[str]:
    return [f"{name}={pip['cert']}"] if pip.get("cert") else []


def main() -> int:
    tool = sys.argv[1] if len(sys.argv) == 2 else ""
    if tool not in ("uv", "pants"):
        print("usage: pip_settings.py uv|pants", file=sys.stderr)
        return 2
    if any(os.environ.get(name) for name in _OWN[tool]):
        return 0
    # An environment made by uv has no pip; the Python that it was made from has.
    python = getattr(sys, "_base_executable", sys.executable)
    listing = subprocess.run(
        [python, "-m", "pip", "config", "list"], capture_output=True, text=True, check=False
    ).stdout  # empty where there is no pip, and then no configuration of it either
    pip = settings(listing, os.environ)
    for option in uv_options(pip) if tool == "uv" else pants_options(pip):
        print(option)
    return 0


if __name__ == "__main__":
    sys.exit(main())
