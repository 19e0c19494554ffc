"""Each package's wheel alone with its dependencies, by the images' own install script."""

import dataclasses
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from PIL import Image

from deploy.environment import ROOT, variables

IMAGES = Path(__file__).parent / "images"
_COPY = ROOT / "tools/upgrades/0.1.0"
_READY_SECONDS = 120


@dataclasses.dataclass(frozen=True, kw_only=True)
class Install:
    """`lacks` are modules that must not be there; `works` runs something real: (the environment's
    commands, an empty folder) -> what it did."""

    requirement: str
    command: str | None
    lacks: tuple[str, ...]
    works: Callable[[Path, Path], str]


def check(scratch: Path) -> None:
    """Prints a line for each. Raises CalledProcessError or ValueError for the first that fails."""
    print("| wheel | packages | MB | without | did |\n|---|---|---|---|---|")
    for install in INSTALLS:
        folder = scratch / install.requirement.partition("[")[0]
        environment = folder / "environment"
        script = IMAGES / "install.sh"
        subprocess.run(
            [script, environment, install.requirement], check=True, cwd=ROOT, env=variables()
        )
        commands = environment / "bin"
        if install.command is not None:
            _run(commands / install.command, "--help", cwd=folder)
        there = [name for name in install.lacks if _has(commands, name)]
        if there:
            raise ValueError(f"{install.requirement} brings {there[0]}, which it must not")
        (folder / "work").mkdir()
        did = install.works(commands, folder / "work")
        packages = len(list(environment.glob("lib/python*/site-packages/*.dist-info")))
        size = sum(f.stat().st_size for f in environment.rglob("*") if not f.is_symlink())
        print(
            f"| {install.requirement} | {packages} | {size / 1e6:,.0f} | "
            f"{', '.join(install.lacks)} | {did} |",
            flush=True,
        )
        shutil.rmtree(environment)


def _has(commands: Path, module: str) -> bool:
    code = "import importlib.util, sys; sys.exit(importlib.util.find_spec(sys.argv[1]) is None)"
    return subprocess.run([commands / "python", "-c", code, module], check=False).returncode == 0


def _run(*command: object, cwd: Path) -> str:
    """What it printed; what it said besides is shown where it fails."""
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, env=_clean(), capture_output=True, text=True
    )
    if done.returncode:
        print(done.stderr[-2000:])
        done.check_returncode()
    return done.stdout


def _clean() -> dict[str, str]:
    """Nothing of this process's Python reaches the environment."""
    return {name: os.environ[name] for name in ("HOME", "PATH", "LANG") if name in os.environ}


def _reads_messages(commands: Path, folder: Path) -> str:
    code = "from imp_proto.v1 import manifest_pb2 as m; print(m.Manifest(format=4).format)"
    return f"a manifest of format {_run(commands / 'python', '-c', code, cwd=folder).strip()}"


def _builds(commands: Path, folder: Path) -> str:
    (folder / "photos/red").mkdir(parents=True)
    for number in range(4):
        Image.new("RGB", (20, 20), (200, number, 0)).save(folder / f"photos/red/{number}.png")
    tool = commands / "imp-data"
    _run(
        tool,
        "build",
        "--source",
        "folder:photos",
        "--out",
        "set",
        "--views",
        "image-16",
        cwd=folder,
    )
    _run(tool, "verify", "set", cwd=folder)
    _run(tool, "verify", _COPY / "data/pictures", cwd=folder)
    return "built 4 pictures and verified them, and version 0.1.0's"


def _describes(commands: Path, folder: Path) -> str:
    _run(commands / "imp-model", "describe", "imp-moe-l", cwd=folder)
    return "described imp-moe-l"


def _trains(commands: Path, folder: Path) -> str:
    """On from the checkpoint that is kept of a version."""
    for name in ("data", "run"):
        shutil.copytree(_COPY / name, folder / name)
    shutil.copy(ROOT / "tools/upgrades/experiment.py", folder)
    run = ("run", "experiment.py:experiment", "--data", "data", "--workdir", "run")
    _run(commands / "imp-train", *run, "--cache", "compiled", cwd=folder)
    if not (folder / "run/bundle").is_dir():
        raise ValueError("imp-train left no bundle")
    return "resumed version 0.1.0's run from step 3 to 6, and wrote a bundle"


def _serves(commands: Path, folder: Path) -> str:
    """A real server on loopback, and a client."""
    tool, port = commands / "imp-eval", folder / "port"
    options = ("--bundle", _COPY / "bundle", "--port", "0", "--port-file", port, "--decoders", "1")
    server = subprocess.Popen(
        [str(part) for part in (tool, "serve", *options, "--batch-size", "2")],
        cwd=folder,
        env=_clean(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        began = time.monotonic()
        while not port.exists():
            if server.poll() is not None or time.monotonic() - began > _READY_SECONDS:
                raise ValueError("imp-eval serve did not become ready")
            time.sleep(0.2)
        Image.new("RGB", (20, 20), (200, 0, 0)).save(folder / "red.png")
        at = ("--address", f"127.0.0.1:{port.read_text().strip()}")
        said = _run(tool, "classify", "red.png", "--classes", "red", "blue", *at, cwd=folder)
        server.send_signal(signal.SIGTERM)
        if server.wait(60):
            raise ValueError(f"imp-eval serve ended with status {server.returncode}")
    finally:
        server.kill()
        server.communicate()
    if "red" not in said:
        raise ValueError(f"imp-eval classify said {said!r}")
    return "served version 0.1.0's bundle, classified a picture over gRPC, ended on SIGTERM"


INSTALLS = (
    Install(requirement="imp-proto", command=None, lacks=("numpy",), works=_reads_messages),
    Install(
        requirement="imp-data[beam]",
        command="imp-data",
        lacks=("jax", "flax", "lancedb"),
        works=_builds,
    ),
    Install(
        requirement="imp-model",
        command="imp-model",
        lacks=("imp_data", "grpc", "apache_beam"),
        works=_describes,
    ),
    Install(
        requirement="imp-train",
        command="imp-train",
        lacks=("apache_beam", "imp_eval", "lancedb"),
        works=_trains,
    ),
    Install(
        requirement="imp-eval",
        command="imp-eval",
        lacks=("apache_beam", "imp_train", "matplotlib"),
        works=_serves,
    ),
)
