"""Orbax's echoes of an error are silent, and nothing else is."""

import logging
import sys
from types import SimpleNamespace

import pytest

from imp_train.hush import hush_orbax


@pytest.fixture
def told(monkeypatch):
    """What comes to the hook that was there before."""
    seen = []
    monkeypatch.setattr(sys, "unraisablehook", seen.append)
    filters = logging.getLogger("absl").filters
    monkeypatch.setattr(logging.getLogger("absl"), "filters", list(filters))
    hush_orbax.__wrapped__()
    return seen


async def _ours():
    """A coroutine that is none of Orbax's."""


def test_a_read_that_ends_after_its_loop_is_silent(told):
    sys.unraisablehook(SimpleNamespace(exc_value=RuntimeError("Event loop is closed"), object=None))
    assert told == []


def test_whatever_else_is_told(told):
    ours = _ours()
    others = [
        SimpleNamespace(exc_value=RuntimeError("Event loop is lost"), object=None),
        SimpleNamespace(exc_value=ValueError("a bug"), object=ours),
        SimpleNamespace(exc_value=None, object=None),
    ]
    for other in others:
        sys.unraisablehook(other)
    assert told == others
    ours.close()


@pytest.mark.parametrize(
    ("path", "exc_info", "logged"),
    [
        ("/lib/orbax/checkpoint/future.py", (ValueError, ValueError("no room"), None), False),
        ("/lib/orbax/checkpoint/future.py", None, True),
        ("/lib/other.py", (ValueError, ValueError("no room"), None), True),
    ],
)
def test_tracebacks_of_a_save_that_fails_are_not_logged(told, caplog, path, exc_info, logged):
    logger = logging.getLogger("absl")
    logger.handle(logging.LogRecord("absl", logging.ERROR, path, 1, "failed", None, exc_info))
    assert bool(caplog.records) == logged
