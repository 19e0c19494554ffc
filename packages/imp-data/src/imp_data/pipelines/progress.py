"""Progress of a build, read from the receipts on disk: it works whoever writes them."""

import contextlib
import pathlib
import threading
from collections.abc import Iterator

import tqdm

from imp_data.pipelines import shard as shard_lib
from imp_data.pipelines.plan import Plan

_POLL_SECONDS = 0.2


@contextlib.contextmanager
def watch(plan: Plan, out: pathlib.Path, *, shown: bool) -> Iterator[None]:
    """A bar with rate and time left on stderr while the body runs, if that is a terminal."""
    if not shown:
        yield
        return
    waiting = {shard.name: shard for shard in plan.shards}
    stop = threading.Event()
    # `disable=None` hides the bar when stderr is no terminal.
    with tqdm.tqdm(total=plan.num_items, desc=plan.name, unit="ex", disable=None) as bar:

        def count() -> None:
            for name, shard in list(waiting.items()):
                if shard_lib.receipt_path(out, name).is_file():
                    del waiting[name]
                    bar.update(len(shard.items))

        def poll() -> None:
            while not stop.wait(_POLL_SECONDS):
                count()

        thread = threading.Thread(target=poll, name="build-progress", daemon=True)
        if not bar.disable:
            thread.start()
        try:
            yield
        finally:
            stop.set()
            if thread.is_alive():
                thread.join()
            count()
