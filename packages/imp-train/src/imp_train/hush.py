"""What Orbax says of an error besides raising it: pages of tracebacks around the one line of ours.

A restore begins all its reads at once and, where one fails, waits for none of them: they end after
the event loop that began them. A save that fails is logged by each of its threads, and raised when
it is waited for.
"""

import functools
import inspect
import logging
import sys


@functools.cache
def hush_orbax() -> None:
    """From here on, in this process; whatever else nobody catches is told as before."""
    before = sys.unraisablehook

    def hook(unraisable: "sys.UnraisableHookArgs") -> None:
        if not _abandoned(unraisable):
            before(unraisable)

    sys.unraisablehook = hook
    logging.getLogger("absl").addFilter(lambda record: not _raised_too(record))


def _abandoned(unraisable: "sys.UnraisableHookArgs") -> bool:
    late = str(unraisable.exc_value) == "Event loop is closed"
    own = unraisable.object
    return late or (inspect.iscoroutine(own) and "orbax" in own.cr_code.co_filename)


def _raised_too(record: logging.LogRecord) -> bool:
    return bool(record.exc_info) and "orbax" in record.pathname
