"""One writer at a time for a folder."""

import contextlib
import fcntl
import os
import pathlib
from collections.abc import Iterator


@contextlib.contextmanager
def sole_writer(folder: pathlib.Path) -> Iterator[None]:
    """Makes the folder and holds it; the hold ends with the process, however it ends.

    Raises ValueError while another process holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    # The folder itself is locked: no file has to lie in it.
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise ValueError(
            f"another process is writing {folder}; wait for it, or choose another folder"
        ) from error
    finally:
        os.close(handle)
