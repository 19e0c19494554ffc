"""Orbax's abandoned reads are silent, and nothing else is."""

import sys
from types import SimpleNamespace

import pytest

from imp_train import abandoned


@pytest.fixture
def told(monkeypatch):
    """What comes to the hook that was there before."""
    seen = []
    monkeypatch.setattr(sys, "unraisablehook", seen.append)
    abandoned.hush_abandoned_reads.__wrapped__()
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
