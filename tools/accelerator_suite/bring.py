"""`./imp python tools/accelerator_suite/bring.py`: what the suite imports, put into a folder.

For a machine that has JAX, Flax and PyTorch and no network: copies what else the suite's own
modules import, and what that requires, from this environment into `.accelerator`, which Git
ignores. Only what runs under another Python may go: Python's own code, and extensions for the
stable ABI.
"""

import argparse
import ast
import importlib.metadata
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
OUT = ROOT / ".accelerator"
LOCK = ROOT / "3rdparty" / "python" / "default.lock.txt"
# What the machine has by itself, and with it all that these require.
THERE = ("jax", "flax", "optax", "orbax-checkpoint", "tensorstore", "grpcio", "numpy", "torch")
# Imported inside of functions that the suite does not call, and compiled for one Python.
LEFT = ("pillow",)
_OURS = ("imp_", "benchmarks", "accelerator_suite")
_LOADED = """
import json, sys
sys.path.insert(0, "tools")
import accelerator_suite.__main__ as launcher
launcher.prepare(tiny=True)
import accelerator_suite.sections
print(json.dumps({name: getattr(each, "__file__", None) for name, each in sys.modules.items()}))
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=OUT)
    out = parser.parse_args().out
    try:
        brought = bring(out)
    except ValueError as error:
        print(f"bring: {error}", file=sys.stderr)
        return 2
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    print(f"{out}: {', '.join(brought) or 'nothing'}; {size / 2**20:.1f} MiB")
    return 0


def bring(out: Path) -> list[str]:
    """Names and versions. Raises ValueError for what would not run there, or isn't the lock's."""
    providers = importlib.metadata.packages_distributions()
    names = {_normal(p) for module in _imported() for p in providers.get(module, [])}
    there = _closure(THERE)
    locked = set(re.findall(r"^([\w.-]+)==([\w.+-]+)", LOCK.read_text(encoding="utf-8"), re.M))
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    brought = []
    # What is needed needs others in turn, which it may import later.
    for name in sorted(_closure(names) - there):
        if name in LEFT:
            continue
        distribution = importlib.metadata.distribution(name)
        version = distribution.version
        if (name, version) not in locked:
            raise ValueError(f"{name} {version} is here, and not in the lock: run ./imp setup")
        for file in distribution.files or ():
            if ".." in file.parts or "__pycache__" in file.parts:
                continue
            if file.suffix in (".so", ".pyd") and ".abi3." not in file.name:
                raise ValueError(f"{name} {version} has {file}, which is for one Python alone")
            target = out / file
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file.locate(), target)
        brought.append(f"{name} {version}")
    return brought


def _imported() -> set[str]:
    """The top-level modules that those of ours import which the suite loads."""
    command = [sys.executable, "-c", _LOADED]
    done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    names: set[str] = set()
    for module, file in json.loads(done.stdout.splitlines()[-1]).items():
        if file is None or not module.startswith(_OURS):
            continue
        for node in ast.walk(ast.parse(Path(file).read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                names.add(node.module.partition(".")[0])
    return {name for name in names if not name.startswith(_OURS)}


def _closure(names: Iterable[str]) -> set[str]:
    """With all that they require, as far as it is installed; extras are left out."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = _normal(waiting.pop())
        if name in found:
            continue
        found.add(name)
        try:
            requires = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        waiting += [
            re.split(r"[^\w.-]", requirement)[0]
            for requirement in requires
            if "extra ==" not in requirement and _is_here(requirement)
        ]
    return found


def _is_here(requirement: str) -> bool:
    try:
        importlib.metadata.distribution(re.split(r"[^\w.-]", requirement)[0])
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


if __name__ == "__main__":
    sys.exit(main())
