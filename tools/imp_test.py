"""./imp up to the point where it would install: that takes a network, so CI does it for real."""

import os
import pathlib
import shutil
import subprocess

import pytest

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent


def imp(
    root: pathlib.Path, *arguments: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Runs `root`'s ./imp with nothing of this process's environment but PATH."""
    return subprocess.run(
        [str(root / "imp"), *arguments],
        env={"PATH": os.environ["PATH"], "HOME": str(root), **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )


@pytest.fixture
def checkout(tmp_path: pathlib.Path) -> pathlib.Path:
    """What ./imp reads of a checkout."""
    shutil.copy(REPOSITORY / "imp", tmp_path)
    shutil.copytree(REPOSITORY / "3rdparty", tmp_path / "3rdparty")
    for path in REPOSITORY.glob("packages/*/pyproject.toml"):
        target = tmp_path / path.relative_to(REPOSITORY)
        target.parent.mkdir(parents=True)
        shutil.copy(path, target)
    return tmp_path


def test_help_needs_no_environment(checkout: pathlib.Path) -> None:
    for arguments in ((), ("help",), ("--help",)):
        done = imp(checkout, *arguments)
        assert done.returncode == 0
        assert "usage: ./imp COMMAND" in done.stdout
    assert not (checkout / ".venv").exists()


def test_an_unknown_command_is_refused_in_one_line(checkout: pathlib.Path) -> None:
    done = imp(checkout, "frobnicate")
    assert done.returncode == 2
    assert done.stderr == "imp: no command 'frobnicate'; ./imp help lists them\n"
    assert not (checkout / ".venv").exists()


def test_a_python_that_fails_is_refused_in_one_line(checkout: pathlib.Path) -> None:
    done = imp(checkout, "data", IMP_PYTHON="/bin/false")
    assert done.returncode == 1
    assert done.stderr == "imp: IMP_PYTHON=/bin/false is not a Python 3.11 or 3.12 that runs\n"


@pytest.mark.parametrize("also", [(), ("pyvenv.cfg",)])
def test_an_environment_of_someone_elses_is_left_alone(
    checkout: pathlib.Path, also: tuple[str, ...]
) -> None:
    precious = checkout / "elsewhere/precious.txt"
    precious.parent.mkdir()
    precious.write_text("mine")
    for name in also:
        (precious.parent / name).touch()
    done = imp(checkout, "setup", IMP_VENV=str(precious.parent))
    assert done.returncode == 1
    assert "it is no environment of ours" in done.stderr
    assert precious.read_text() == "mine"


def stamped(checkout: pathlib.Path) -> pathlib.Path:
    """An environment that is marked complete, with a Python that says it ran."""
    digest = subprocess.run(
        ["bash", "-c", 'source <(sed "/^command=/,$ d" imp); root=$PWD; expected_stamp'],
        cwd=checkout,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    python = checkout / "made/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text('#!/bin/sh\necho ran "$@"\n')
    python.chmod(0o755)
    (checkout / "made/pyvenv.cfg").touch()
    (checkout / "made/.imp-stamp").write_text(digest)
    return checkout / "made"


def test_a_complete_environment_is_used_as_it_is(checkout: pathlib.Path) -> None:
    done = imp(checkout, "python", "-V", IMP_VENV=str(stamped(checkout)))
    assert (done.stdout, done.stderr, done.returncode) == ("ran -V\n", "", 0)


@pytest.mark.parametrize("change", ["lock", "pyproject", "stamp"])
def test_an_environment_that_is_not_what_the_locks_say_is_not_used(
    checkout: pathlib.Path, change: str
) -> None:
    venv = stamped(checkout)
    if change == "lock":
        path = checkout / "3rdparty/python/default.lock.txt"
        path.write_text(path.read_text() + "# changed\n")
    elif change == "pyproject":
        path = checkout / "packages/imp-data/pyproject.toml"
        path.write_text(path.read_text() + "# changed\n")
    else:  # a set-up that was interrupted
        (venv / ".imp-stamp").unlink()
    # A Python that cannot be, so that it stops before installing.
    done = imp(checkout, "python", "-V", IMP_VENV=str(venv), IMP_PYTHON="/bin/false")
    assert done.returncode == 1
    assert "ran" not in done.stdout
