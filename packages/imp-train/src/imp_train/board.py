"""TensorBoard's scalars, written by whoever adds them.

SummaryWriter has a thread that writes: one that a full disk has ended is waited for without end.
"""

import os
import time
from pathlib import Path

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.summary import scalar

# Seconds after which what was added is on disk.
_EVERY = 30.0


class Board:
    """An event file in a folder; what earlier ones hold from step `start` on is not shown."""

    def __init__(self, folder: Path, *, start: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._events = EventsWriter(str(folder / "events"), f".{os.getpid()}")
        self._events.write_event(Event(step=start, session_log=SessionLog(status=SessionLog.START)))
        self._flushed = time.monotonic()

    def add(self, name: str, value: float, step: int) -> None:
        """Raises OSError where there is no room."""
        summary = scalar(name, value)
        self._events.write_event(Event(step=step, wall_time=time.time(), summary=summary))
        if time.monotonic() - self._flushed > _EVERY:
            self._events.flush()
            self._flushed = time.monotonic()

    def close(self) -> None:
        """Raises OSError where there is no room."""
        self._events.close()
