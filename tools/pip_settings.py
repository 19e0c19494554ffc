"""Says to uv what pip's configuration says to pip: prints uv's options, one a line, and
SSL_CERT_FILE=... for its environment.

uv reads no pip configuration, so behind a mirror or an own certificate `./imp` hands it over.
Somebody who has configured uv itself (UV_INDEX, UV_DEFAULT_INDEX, ...) is left alone.
Runs on a bare Python, before anything is installed.
"""

import ast
import os
import subprocess
import sys
from collections.abc import Mapping

_UV_OWN = ("UV_INDEX", "UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_EXTRA_INDEX_URL", "UV_CONFIG_FILE")
# Later ones win, as in pip.
_SECTIONS = ("global", "install", ":env:")


def settings(listing: str, environment: Mapping[str, str]) -> dict[str, str]:
    """pip's effective settings, from `pip config list` and, where that is silent, from PIP_*."""
    found: dict[str, str] = {}
    for section in _SECTIONS:
        for line in listing.splitlines():
            key, sign, value = line.partition("=")
            name = key.removeprefix(section + ".")
            if sign and name != key:
                found[name] = str(ast.literal_eval(value))
    for key, value in environment.items():
        if key.startswith("PIP_") and value:
            found[key.removeprefix("PIP_").lower().replace("_", "-")] = value
    return found


def uv_options(pip: Mapping[str, str]) -> list[str]:
    """What has uv install from where pip would: options, and at most one NAME=VALUE."""
    options = [f"SSL_CERT_FILE={pip['cert']}"] if pip.get("cert") else []
    if pip.get("no-index", "").lower() in ("1", "true", "yes", "on"):
        options.append("--no-index")
    elif index := pip.get("index-url"):
        options.append(f"--default-index={index}")
    extra = pip.get("extra-index-url", "").split()
    options += [f"--index={index}" for index in extra]
    if extra:  # pip takes the best of all indexes; the locks' hashes make that safe
        options.append("--index-strategy=unsafe-best-match")
    options += [f"--find-links={place}" for place in pip.get("find-links", "").split()]
    options += [f"--allow-insecure-host={h}" for h in pip.get("trusted-host", "").split()]
    return options


def main() -> int:
    if any(os.environ.get(name) for name in _UV_OWN):
        return 0
    listing = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=False
    ).stdout  # empty where there is no pip, and then no configuration of it either
    pip = settings(listing, os.environ)
    for option in uv_options(pip):
        print(option)
    return 0


if __name__ == "__main__":
    sys.exit(main())
