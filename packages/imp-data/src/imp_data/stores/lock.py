"""One writer at a time for a folder."""

import contextlib
import fcntl
import os
import pathlib
from collections.abc import Iterator


@contextlib.contextmanager
def sole_writer(folder: pathlib.Path, *, wait: bool = False) -> Iterator[None]:
    """Makes the folder and holds it; the hold ends with the process, however it ends.

    While another process holds it: waits for that one, or raises ValueError. NotADirectoryError
    where `folder` is a file.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise NotADirectoryError(f"{folder} is a file; give the path of a folder") from None
    # The folder itself is locked: no file has to lie in it.
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            raise ValueError(
                f"another process is writing {folder}; wait for it, or choose another folder"
            ) from None
        yield
    finally:
        os.close(handle)
