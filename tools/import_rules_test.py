"""The import rules of ARCHITECTURE.md hold, and a breach of any of them is caught.

The rules are import-linter's contracts in pyproject.toml.
"""

import ast
import os
import pathlib
import shutil
import subprocess
import sys

import pytest
from importlinter import cli

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
PACKAGES = ("imp_proto", "imp_data", "imp_model", "imp_train", "imp_eval")


def source_root(repository: pathlib.Path, package: str) -> pathlib.Path:
    return repository / "packages" / package.replace("_", "-") / "src"


def check(repository: pathlib.Path) -> subprocess.CompletedProcess[str]:
    """Runs the contracts of `repository`/pyproject.toml on the packages that lie there."""
    path = [str(source_root(repository, package)) for package in PACKAGES]
    run = f"from {cli.__name__} import lint_imports_command as run; run()"
    return subprocess.run(
        [sys.executable, "-c", run, "--no-logo", "--no-cache"],
        cwd=repository,
        # Our packages from here, before any that are installed; the rest as this process has it.
        env={**os.environ, "PYTHONPATH": os.pathsep.join([*path, *sys.path]), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def tree(tmp_path: pathlib.Path) -> pathlib.Path:
    """A copy of the contracts and the packages' sources."""
    shutil.copy(REPOSITORY / "pyproject.toml", tmp_path)
    for package in PACKAGES:
        shutil.copytree(
            source_root(REPOSITORY, package) / package,
            source_root(tmp_path, package) / package,
            ignore=shutil.ignore_patterns("__pycache__"),
        )
    return tmp_path


def test_the_tree_keeps_the_rules() -> None:
    done = check(REPOSITORY)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("module", "offence", "rule"),
    [
        ("imp_data/planted", "import jax", "imp_data sees imp_proto alone"),
        ("imp_data/planted", "import imp_model", "imp_data sees imp_proto alone"),
        ("imp_data/planted", "import apache_beam", "Beam stays in imp_data.pipelines"),
        ("imp_model/planted", "import imp_data.views", "imp_model sees none of ours"),
        ("imp_model/planted", "import optax", "imp_model sees none of ours"),
        ("imp_train/planted", "import imp_eval", "imp_train sees imp_data and imp_model"),
        ("imp_train/planted", "import imp_proto.v1.record_pb2", "imp_train reads no disk format"),
        ("imp_train/rates", "import imp_train.tasks", "The AGD loop knows of no data"),
        ("imp_eval/planted", "import imp_train", "imp_eval meets imp_train at the bundle only"),
        ("imp_eval/planted", "import grpc", "gRPC stays in"),
        ("imp_eval/planted", "import imp_data.pipelines.plan", "Training and serving read"),
    ],
)
def test_a_planted_offence_is_caught(
    tree: pathlib.Path, module: str, offence: str, rule: str
) -> None:
    package = module.partition("/")[0]
    (source_root(tree, package) / f"{module}.py").write_text(f"{offence}\n")
    done = check(tree)
    broken = [line for line in done.stdout.splitlines() if " BROKEN" in line]
    assert done.returncode == 1, done.stdout + done.stderr
    assert len(broken) == 1
    assert broken[0].startswith(rule)


def test_beam_may_be_used_by_pipelines(tree: pathlib.Path) -> None:
    planted = source_root(tree, "imp_data") / "imp_data/pipelines/planted.py"
    planted.parent.mkdir(exist_ok=True)
    planted.parent.joinpath("__init__.py").touch()
    planted.write_text("import apache_beam\n")
    done = check(tree)
    assert done.returncode == 0, done.stdout + done.stderr


def imported(path: pathlib.Path) -> set[str]:
    """The top-level names that a file imports."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.partition(".")[0])
    return names


def test_no_package_imports_tools() -> None:
    tools = {path.stem for path in (REPOSITORY / "tools").iterdir()} - {"__pycache__"}
    offenders = [
        str(path)
        for package in PACKAGES
        for path in source_root(REPOSITORY, package).rglob("*.py")
        if imported(path) & tools
    ]
    assert offenders == []
