"""Brings what was written below a folder to the disk itself."""

import asyncio
import os
import pathlib


class DiskSync:
    """LanceDB leaves its files to the operating system, which loses none of them when a process is
    killed, but may when the machine loses power."""

    def __init__(self, root: pathlib.Path) -> None:
        self._root = root
        self._synced: dict[str, int] = {}

    async def sync(self, name: str) -> None:
        """Returns when all files below `name` that changed since the last call are on disk."""
        await asyncio.to_thread(self._sync, name)

    def _sync(self, name: str) -> None:
        since = self._synced.get(name, 0)
        latest = since
        for folder, _, files in os.walk(self._root / name):
            # The folder last: it must not name a file whose content is not there.
            for path in (*(os.path.join(folder, file) for file in files), folder):
                try:
                    changed = os.stat(path).st_mtime_ns
                    # Equal too: a clock's tick is longer than a write.
                    if changed >= since:
                        _fsync(path)
                except FileNotFoundError:
                    continue  # compacted away
                latest = max(latest, changed)
        self._synced[name] = latest


def _fsync(path: str) -> None:
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
