"""Progress of long work, read from the files that it leaves: it works whoever writes them."""

import collections
import contextlib
import pathlib
import threading
from collections.abc import Callable, Iterator, Mapping

import tqdm

from imp_data.pipelines import shard as shard_lib
from imp_data.pipelines.plan import Plan

_POLL_SECONDS = 0.2


@contextlib.contextmanager
def watch(plan: Plan, out: pathlib.Path, *, shown: bool) -> Iterator[None]:
    """A bar of a build's examples while the body runs, with its shards and rejects."""
    shards = {shard_lib.receipt_path(out, shard.name): shard for shard in plan.shards}

    def counts(path: pathlib.Path) -> Mapping[str, int]:
        receipt = shard_lib.read_receipt(out, shards[path].name)
        # A damaged one is redone: its shard is not done.
        return {} if receipt is None else {"shards": 1, "rejects": len(receipt.rejects)}

    files = {path: len(shard.items) for path, shard in shards.items()}
    with watch_files(files, title=plan.name, shown=shown, counts=counts):
        yield


@contextlib.contextmanager
def watch_files(
    files: Mapping[pathlib.Path, int],
    *,
    title: str,
    shown: bool,
    kept: bool = True,
    counts: Callable[[pathlib.Path], Mapping[str, int]] | None = None,
) -> Iterator[None]:
    """A bar with rate and time left on stderr while the body runs, if that is a terminal.

    `files` are those that the body leaves, and how many examples each stands for; `counts` of a
    file that is there are added up beside the bar. The finished bar stays there to be read if
    `kept`.
    """
    if not shown:
        yield
        return
    waiting = dict(files)
    stop = threading.Event()
    total = sum(files.values())
    beside: collections.Counter[str] = collections.Counter()
    # `disable=None` hides the bar when stderr is no terminal.
    with tqdm.tqdm(total=total, desc=title, unit="ex", disable=None, leave=kept) as bar:

        def count() -> None:
            for path in list(waiting):
                if path.is_file():
                    if counts is not None:
                        beside.update(counts(path))
                        bar.set_postfix(beside, refresh=False)
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
            if not bar.disable:
                count()
                bar.refresh()
