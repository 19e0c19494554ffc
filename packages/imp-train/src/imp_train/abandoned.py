"""Reads that a failed restore leaves behind: Orbax begins all at once and waits for none of them.

They end after the event loop that began them, each with a traceback of its own on stderr, beside
the one line that says what is wrong.
"""

import functools
import inspect
import sys


@functools.cache
def hush_abandoned_reads() -> None:
    """From here on, in this process; whatever else nobody catches is told as before."""
    before = sys.unraisablehook

    def hook(unraisable: "sys.UnraisableHookArgs") -> None:
        if not _abandoned(unraisable):
            before(unraisable)

    sys.unraisablehook = hook


def _abandoned(unraisable: "sys.UnraisableHookArgs") -> bool:
    late = str(unraisable.exc_value) == "Event loop is closed"
    own = unraisable.object
    return late or (inspect.iscoroutine(own) and "orbax" in own.cr_code.co_filename)
