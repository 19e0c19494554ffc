"""Progress of long work, read from the files that it leaves: it works whoever writes them."""

import contextlib
import pathlib
import threading
from collections.abc import Iterator, Mapping

import tqdm

from imp_data.pipelines import shard as shard_lib
from imp_data.pipelines.plan import Plan

_POLL_SECONDS = 0.2


@contextlib.contextmanager
def watch(plan: Plan, out: pathlib.Path, *, shown: bool) -> Iterator[None]:
    """A bar of a build's examples while the body runs."""
    files = {shard_lib.receipt_path(out, shard.name): len(shard.items) for shard in plan.shards}
    with watch_files(files, title=plan.name, shown=shown):
        yield


@contextlib.contextmanager
def watch_files(
    files: Mapping[pathlib.Path, int], *, title: str, shown: bool, kept: bool = True
) -> Iterator[None]:
    """A bar with rate and time left on stderr while the body runs, if that is a terminal.

    `files` are those that the body leaves, and how many examples each stands for; the finished bar
    stays there to be read if `kept`.
    """
    if not shown:
        yield
        return
    waiting = dict(files)
    stop = threading.Event()
    total = sum(files.values())
    # `disable=None` hides the bar when stderr is no terminal.
    with tqdm.tqdm(total=total, desc=title, unit="ex", disable=None, leave=kept) as bar:

        def count() -> None:
            for path in list(waiting):
                if path.is_file():
                    bar.update(waiting.pop(path))

        def poll() -> None:
            while not stop.wait(_POLL_SECONDS):
                count()

        thread = threading.Thread(target=poll, name="progress", daemon=True)
        if not bar.disable:
            thread.start()
        try:
            yield
        finally:
            stop.set()
            if thread.is_alive():
                thread.join()
            count()
