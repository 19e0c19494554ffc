"""Every package declares what it imports, so that its wheel works on its own."""

import ast
import pathlib
import re
import sys
import tomllib
from importlib import metadata

import pytest

import imp_data

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
PACKAGES = sorted(path.parent.name for path in REPOSITORY.glob("packages/*/pyproject.toml"))
PROVIDERS = metadata.packages_distributions()


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def declared(pyproject: pathlib.Path) -> set[str]:
    """The distributions that a pyproject.toml names, those of its extras included."""
    project = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]
    extras = project.get("optional-dependencies", {}).values()
    requirements = [*project["dependencies"], *(r for extra in extras for r in extra)]
    return {normal(re.split(r"[^\w.-]", requirement)[0]) for requirement in requirements}


def imported(source: str) -> set[str]:
    """The top-level names that a module imports from outside the standard library."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.partition(".")[0])
    return names - sys.stdlib_module_names


def undeclared(source: str, package: str, declarations: set[str]) -> set[str]:
    """The names that `source`, a module of `package`, imports and nothing declared provides."""
    return {
        name
        for name in imported(source) - {package}
        # Ours may be on the path without being installed.
        if not declarations & {normal(p) for p in [*PROVIDERS.get(name, []), name]}
    }


@pytest.mark.parametrize("distribution", PACKAGES)
def test_what_is_imported_is_declared(distribution: str) -> None:
    folder = REPOSITORY / "packages" / distribution
    package = distribution.replace("-", "_")
    found = {
        f"{path.relative_to(folder)}: {name}"
        for path in (folder / "src" / package).rglob("*.py")
        if not path.name.endswith("_test.py")
        and path.name != "conftest.py"
        # What makes golden files runs where the libraries are that they come from.
        and path.parent.name != "goldens"
        for name in undeclared(
            path.read_text(encoding="utf-8"), package, declared(folder / "pyproject.toml")
        )
    }
    assert found == set()


def test_an_undeclared_import_is_found() -> None:
    source = "import os\nimport numpy as np\nfrom jax import lax\nimport imp_data.views\n"
    assert undeclared(source, "imp_data", {"jax"}) == {"numpy"}


def test_the_version_in_the_code_is_the_declared_one() -> None:
    pyproject = REPOSITORY / "packages/imp-data/pyproject.toml"
    project = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]
    assert project["version"] == imp_data.__version__
