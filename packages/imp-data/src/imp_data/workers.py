"""Workers: processes that make batches, handed back in order through memory shared with each.

A worker is a fresh interpreter that imports imp_data alone: nothing is forked, so that the caller
may hold threads and a device, and the caller's main module is not run again. What is shared has no
name: a socket and anonymous files, which are gone with the processes, however these end. A worker
whose caller is gone finds its socket closed, and ends.
"""

import collections
import contextlib
import dataclasses
import itertools
import os
import pickle
import signal
import socket
import subprocess
import sys
import tempfile
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from multiprocessing.connection import Connection
from typing import TypeVar

import numpy as np

from imp_data.batch import Batch

J = TypeVar("J")
_CODE = "from imp_data.workers import serve; serve()"


@dataclasses.dataclass(frozen=True)
class _Worker:
    """Its process, our end of the socket, and the files that its batches come in, in turns."""

    process: subprocess.Popen[bytes]
    connection: Connection
    slots: tuple[int, ...]


class Workers:
    """Iterates over make(job) for each of `jobs`, in their order, whichever process makes it.

    `make` and the jobs are pickled; each process has up to `depth` batches ready or in work. A
    ValueError or OSError in `make` is raised where its batch would have come; ChildProcessError
    when a worker ended, of another error (its traceback is on stderr) or killed.
    """

    def __init__(
        self,
        make: Callable[[J], Batch],
        jobs: Iterable[J],
        *,
        num_workers: int,
        depth: int = 2,
    ) -> None:
        if num_workers < 1 or depth < 1:
            raise ValueError(f"num_workers {num_workers} and depth {depth} must be at least 1")
        self._jobs = iter(jobs)
        self._workers: list[_Worker] = []
        self._end = weakref.finalize(self, _end, self._workers)
        pickled = pickle.dumps(make)
        for _ in range(num_workers):
            self._workers.append(_start(pickled, depth))
        # (worker, slot) of each batch asked for, in order.
        self._pending: collections.deque[tuple[_Worker, int]] = collections.deque()
        self._turns = itertools.cycle(
            (worker, slot) for slot in range(depth) for worker in self._workers
        )
        for _ in range(num_workers * depth):
            self._ask()

    def _ask(self) -> None:
        for job in itertools.islice(self._jobs, 1):
            worker, slot = next(self._turns)
            self._pending.append((worker, slot))
            try:
                worker.connection.send((slot, job))
            except (BrokenPipeError, ConnectionResetError):
                # It ended; its turn to answer comes, and says so.
                return

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        if not self._end.alive or not self._pending:
            self.close()
            raise StopIteration
        try:
            worker, slot = self._pending.popleft()
            try:
                answer = worker.connection.recv()
            except (EOFError, ConnectionResetError) as error:
                raise ChildProcessError(_obituary(worker.process)) from error
            if isinstance(answer, Exception):
                raise answer
            batch = _taken(worker.slots[slot], answer)
            self._ask()
        except BaseException:
            # Interrupted anywhere, the sockets may be half read: nothing can go on from here.
            self.close()
            raise
        return batch

    def close(self) -> None:
        """Ends the iteration and its processes at once. May be called twice."""
        self._end()


def serve() -> None:
    """A worker's life; descriptors are its arguments: the socket's, then each slot's."""
    descriptor, *slots = map(int, sys.argv[1:])
    connection = Connection(descriptor)
    with open(slots[0], "rb", closefd=False) as file:
        make = pickle.load(file)
    try:
        while True:
            slot, job = connection.recv()
            try:
                batch = make(job)
            except (ValueError, OSError) as error:
                connection.send(error)
            else:
                connection.send(_put(batch, slots[slot]))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return


def _start(pickled: bytes, depth: int) -> _Worker:
    ours, theirs = socket.socketpair()
    with theirs, contextlib.ExitStack() as undo:
        undo.callback(ours.close)
        slots = []
        for _ in range(depth):
            slots.append(_anonymous_file())
            undo.callback(os.close, slots[-1])
        os.pwrite(slots[0], pickled, 0)
        shared = (theirs.fileno(), *slots)
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", _CODE, *map(str, shared)],
            env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            stdin=subprocess.DEVNULL,
            pass_fds=shared,
            # A terminal's interrupt is for the caller, who ends the workers.
            process_group=0,
        )
        undo.pop_all()
    return _Worker(process, Connection(ours.detach()), tuple(slots))


def _anonymous_file() -> int:
    """In memory where the system can."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("imp-batch")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def _end(workers: Sequence[_Worker]) -> None:
    for worker in workers:
        worker.process.kill()
        worker.connection.close()
        for slot in worker.slots:
            os.close(slot)
    for worker in workers:
        worker.process.wait()


def _obituary(process: subprocess.Popen[bytes]) -> str:
    status = process.wait()
    how = f"was ended by {signal.Signals(-status).name}" if status < 0 else f"exited with {status}"
    return f"the loader's worker {process.pid} {how}; start again from the step that is missing"


def _arrays(batch: Batch) -> dict[str, np.ndarray]:
    labels = {} if batch.labels is None else {"labels": batch.labels}
    return {"index": batch.index, **labels, **{f"inputs/{k}": v for k, v in batch.inputs.items()}}


def _put(batch: Batch, slot: int) -> list[tuple[str, np.dtype, tuple[int, ...]]]:
    """Writes the arrays one after the other; returns what says how to read them."""
    layout = []
    offset = 0
    for name, array in _arrays(batch).items():
        rest = np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
        while rest:
            written = os.pwrite(slot, rest, offset)
            rest, offset = rest[written:], offset + written
        layout.append((name, array.dtype, array.shape))
    return layout


def _taken(slot: int, layout: Sequence[tuple[str, np.dtype, tuple[int, ...]]]) -> Batch:
    """A copy: the slot is written anew while the batch is used."""
    arrays = {}
    offset = 0
    for name, dtype, shape in layout:
        arrays[name] = np.empty(shape, dtype)
        rest = arrays[name].reshape(-1).view(np.uint8).data
        while rest:
            read = os.preadv(slot, [rest], offset)
            assert read, "a worker wrote less than it said"
            rest, offset = rest[read:], offset + read
    return Batch(
        inputs={k.removeprefix("inputs/"): v for k, v in arrays.items() if k.startswith("inputs/")},
        labels=arrays.get("labels"),
        index=arrays["index"],
    )
