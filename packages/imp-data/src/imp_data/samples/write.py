"""write_samples: the corpora side by side in processes, each appearing only when complete."""

import contextlib
import dataclasses
import importlib.metadata
import json
import logging
import multiprocessing
import shutil
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from pathlib import Path
from typing import Any

import tqdm

from imp_data.samples import emoji, errands, games, icons, instruments
from imp_data.samples.corpus import Chunk, Corpus, Row
from imp_data.stores.lock import sole_writer

logger = logging.getLogger(__name__)

CORPORA = {
    module.CORPUS.name: module.CORPUS for module in (icons, emoji, games, instruments, errands)
}
ALL: tuple[str, ...] = tuple(CORPORA)
COMPLETE = "complete.json"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Written:
    """A corpus on disk. seconds: of processor time that writing took; 0 where it was reused."""

    path: Path
    counts: dict[str, int]
    seconds: float
    reused: bool


def write_samples(
    root: str | Path,
    *,
    corpora: Sequence[str] = ALL,
    seed: int = 0,
    processes: int = 2,
    limit: int | None = None,
) -> dict[str, Written]:
    """Writes ROOT/<corpus>/ for each corpus, or finds it there from an earlier call.

    A corpus is written beside its place and renamed when complete, so an interrupted call leaves
    nothing half-written. The test split does not depend on the seed. limit: about so many examples
    of each split of each kind, for trials. Call it from under `if __name__ == "__main__":`, as with
    any spawned processes.

    Raises ValueError for an unknown corpus or a folder that is not ours, ModuleNotFoundError for a
    package that is not installed; both before anything is written.
    """
    if unknown := sorted(set(corpora) - set(ALL)):
        raise ValueError(f"sample corpus {unknown[0]!r} is unknown; one of {', '.join(ALL)}")
    if processes < 1:
        raise ValueError(f"processes {processes} must be at least 1")
    if limit is not None and limit < 1:
        raise ValueError(f"limit {limit} must be at least 1")
    root = Path(root)
    # A second caller waits, and then finds what the first one wrote.
    with sole_writer(root, wait=True):
        results = {}
        missing = []
        for name in dict.fromkeys(corpora):
            counts = _find(root / name, CORPORA[name], seed, limit)
            if counts is None:
                CORPORA[name].require_packages()
                missing.append(CORPORA[name])
            else:
                path = root / name
                results[name] = Written(path=path, counts=counts, seconds=0.0, reused=True)
        if missing:
            results |= _write(root, missing, seed, limit, processes)
    return {name: results[name] for name in dict.fromkeys(corpora)}


def _identity(corpus: Corpus, seed: int, limit: int | None) -> dict[str, Any]:
    return {"corpus": corpus.name, "version": corpus.version, "seed": seed, "limit": limit}


def _find(folder: Path, corpus: Corpus, seed: int, limit: int | None) -> dict[str, int] | None:
    """The counts of a complete corpus of this identity, or None where it has to be written."""
    if not folder.exists():
        return None
    try:
        found = json.loads((folder / COMPLETE).read_text("utf-8"))
    except FileNotFoundError:
        raise ValueError(
            f"{folder} is there and holds no {COMPLETE}, so it is not replaced; "
            "move it away or choose another folder"
        ) from None
    if any(found.get(key) != value for key, value in _identity(corpus, seed, limit).items()):
        return None
    return dict(found["counts"])


def _versions(corpus: Corpus) -> dict[str, str]:
    return {name: importlib.metadata.version(name) for name in sorted(corpus.packages.values())}


def _partial(root: Path, name: str) -> Path:
    return root / f".{name}.partial"


def _write(
    root: Path, corpora: Sequence[Corpus], seed: int, limit: int | None, processes: int
) -> dict[str, Written]:
    for corpus in corpora:
        shutil.rmtree(_partial(root, corpus.name), ignore_errors=True)
        _partial(root, corpus.name).mkdir()
    # Spawned, as a fork would carry over the locks of threads that the caller runs.
    pool = ProcessPoolExecutor(
        processes,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_leave_interrupts_to_the_parent,
    )
    try:
        return _gather(pool, root, corpora, seed, limit)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        for corpus in corpora:
            shutil.rmtree(_partial(root, corpus.name), ignore_errors=True)


def _leave_interrupts_to_the_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextlib.contextmanager
def _collected_interrupts() -> Iterator[list[int]]:
    """SIGINTs so far, for a loop to act on: Python loses one that it raises inside a destructor."""
    caught: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield caught  # They reach the main thread alone.
        return
    before = signal.signal(signal.SIGINT, lambda number, frame: caught.append(number))
    try:
        yield caught
    finally:
        signal.signal(signal.SIGINT, before)


def _plan(name: str, seed: int, limit: int | None) -> tuple[list[Chunk], float]:
    start = time.process_time()
    return CORPORA[name].plan(seed, limit), time.process_time() - start


def _chunk(name: str, folder: Path, chunk: Chunk) -> tuple[list[Row], float]:
    start = time.process_time()
    return CORPORA[name].write_chunk(folder, chunk), time.process_time() - start


@dataclasses.dataclass(kw_only=True)
class _Progress:
    """How far a corpus is; `waiting` counts its chunks that are still out."""

    bar: Any
    rows: list[Row] = dataclasses.field(default_factory=list)
    seconds: float = 0.0
    waiting: int = 0


def _gather(
    pool: ProcessPoolExecutor,
    root: Path,
    corpora: Sequence[Corpus],
    seed: int,
    limit: int | None,
) -> dict[str, Written]:
    plans: dict[Future[Any], Corpus] = {}
    chunks: dict[Future[Any], tuple[Corpus, Chunk]] = {}
    written: dict[str, Written] = {}
    with contextlib.ExitStack() as stack:
        progress = {}
        for place, corpus in enumerate(corpora):
            # disable=None: no bar where standard error is not a terminal.
            bar = tqdm.tqdm(desc=f"{corpus.name:<12}", position=place, disable=None, unit="file")
            progress[corpus.name] = _Progress(bar=stack.enter_context(bar))
            plans[pool.submit(_plan, corpus.name, seed, limit)] = corpus
        interrupts = stack.enter_context(_collected_interrupts())
        while plans or chunks:
            done, _ = wait([*plans, *chunks], timeout=0.2, return_when=FIRST_COMPLETED)
            if interrupts:
                raise KeyboardInterrupt
            for future in done:
                result, seconds = future.result()
                if future in plans:
                    corpus = plans.pop(future)
                    state = progress[corpus.name]
                    state.waiting = len(result)
                    state.bar.total = sum(chunk.size for chunk in result)
                    state.bar.refresh()
                    folder = _partial(root, corpus.name)
                    for chunk in result:
                        job = pool.submit(_chunk, corpus.name, folder, chunk)
                        chunks[job] = (corpus, chunk)
                else:
                    corpus, chunk = chunks.pop(future)
                    state = progress[corpus.name]
                    state.rows += result
                    state.waiting -= 1
                    state.bar.update(chunk.size)
                state.seconds += seconds
                if not state.waiting:
                    counts = _finish(root, corpus, state.rows, seed, limit)
                    written[corpus.name] = Written(
                        path=root / corpus.name,
                        counts=counts,
                        seconds=state.seconds,
                        reused=False,
                    )
    return written


def _finish(
    root: Path, corpus: Corpus, rows: Sequence[Row], seed: int, limit: int | None
) -> dict[str, int]:
    """Manifest, complete.json, and then the rename that makes the corpus appear."""
    folder, place = _partial(root, corpus.name), root / corpus.name
    counts = corpus.complete(folder, rows)
    record = {
        **_identity(corpus, seed, limit),
        "counts": counts,
        "packages": _versions(corpus),
    }
    (folder / COMPLETE).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    # Renamed before it is removed: what an interrupt leaves at `place` is whole or nothing.
    old = place.with_name(f".{place.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if place.exists():
        place.rename(old)
    folder.rename(place)
    shutil.rmtree(old, ignore_errors=True)
    logger.info("%s: %s", place, ", ".join(f"{count} {split}" for split, count in counts.items()))
    return counts
