"""Python's wall clock, off by as many seconds as the file IMP_CLOCK holds: at once, whenever it
changes. Imported by every interpreter that finds this folder on its path."""

import os
import time

_FILE = os.environ.get("IMP_CLOCK")
_now, _now_ns = time.time, time.time_ns


def _offset() -> int:
    try:
        with open(_FILE or "") as file:
            return int(file.read() or 0)
    except FileNotFoundError:
        return 0


if _FILE:
    time.time = lambda: _now() + _offset()
    time.time_ns = lambda: _now_ns() + _offset() * 10**9
