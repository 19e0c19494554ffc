"""Decoders: media files to arrays in processes of their own, under limits of memory and time.

A file that crashes or hangs its decoder takes one process, which is replaced, and fails alone.
Modalities take turns for the next free process, so that long videos don't hold up images. The event
loop never waits: it passes descriptors' worth of bytes and listens.
"""

import asyncio
import collections
import contextlib
import dataclasses
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import numpy as np

from imp_data.media import Limits, MediaError
from imp_data.views import View, to_json
from imp_eval.decode_worker import ANSWER, ARRAY, JOB, READY, read, write
from imp_eval.metrics import Metrics
from imp_eval.tracing import span

_CODE = "from imp_eval.decode_worker import main; main()"
# Larger payloads are copied in a thread.
_COPIED_AT_ONCE = 1 << 20
P = ParamSpec("P")
T = TypeVar("T")
logger = logging.getLogger(__name__)


class DecoderError(MediaError):
    """The decoder crashed on this file: our fault, not a rule that the file breaks."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class DecodeLimits:
    """What one file may take. `memory` in bytes beyond the interpreter's own."""

    media: Limits
    seconds: float = 30.0
    memory: int = 1 << 30

    def __post_init__(self) -> None:
        if self.seconds <= 0 or self.memory < 1 << 24:
            raise ValueError(
                f"decoding in {self.seconds} s and {self.memory} bytes can't be; give more than "
                f"0 s and at least {1 << 24} bytes"
            )


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class _Job:
    view: View
    data: bytes
    deadline: float | None
    future: asyncio.Future[np.ndarray]
    arrived: float


class Decoders:
    """Made, used and closed within one event loop."""

    def __init__(self, num_workers: int, limits: DecodeLimits, metrics: Metrics) -> None:
        if num_workers < 1:
            raise ValueError(f"decoders {num_workers} must be at least 1")
        self._limits = limits
        self._metrics = metrics
        self._lanes: dict[str, collections.deque[_Job]] = {}
        self._queued = asyncio.Semaphore(0)
        self._processes: dict[int, _Process] = {}
        self._started = [asyncio.get_running_loop().create_future() for _ in range(num_workers)]
        self._tasks = [asyncio.create_task(self._work(place)) for place in range(num_workers)]

    @property
    def pids(self) -> list[int]:
        return [process.pid for process in self._processes.values()]

    async def ready(self) -> None:
        """Returns once every process has imported what it needs. Raises OSError if one can't."""
        await asyncio.gather(*self._started)

    async def decode(self, view: View, data: bytes, *, deadline: float | None = None) -> np.ndarray:
        """An encoded file -> the view's array. `deadline` is on the event loop's clock.

        Raises MediaError for a file that is no use or over a limit, DecoderError where the decoder
        crashed, TimeoutError when the deadline passes before the file's turn. A cancelled caller's
        file is skipped.
        """
        loop = asyncio.get_running_loop()
        job = _Job(
            view=view,
            data=data,
            deadline=deadline,
            future=loop.create_future(),
            arrived=loop.time(),
        )
        self._lanes.setdefault(view.modality, collections.deque()).append(job)
        self._queued.release()
        with span("decode", modality=view.modality, bytes=len(data)):
            return await job.future

    async def close(self) -> None:
        """Ends the processes at once; what is queued fails."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for lane in self._lanes.values():
            for job in lane:
                job.future.cancel()

    async def _work(self, place: int) -> None:
        """Keeps one process going, and gives it one job after another."""
        started = self._started[place]
        while True:
            try:
                process = await _Process.start(self._limits)
            except OSError as error:
                if not started.done():
                    started.set_exception(error)
                    return
                logger.error("no decoder can be started, trying again: %s", error)
                await asyncio.sleep(1)
                continue
            self._processes[place] = process
            try:
                if not started.done():
                    started.set_result(None)
                while True:
                    await self._queued.acquire()
                    job = self._next()
                    if job is not None and not await self._run(process, job):
                        break
            finally:
                del self._processes[place]
                process.end()

    def _next(self) -> _Job | None:
        """The job whose modality waited longest for its turn; None for one that wants none."""
        modality = next(name for name, lane in self._lanes.items() if lane)
        self._lanes[modality] = self._lanes.pop(modality)  # to the end: the others come first
        job, now = self._lanes[modality].popleft(), asyncio.get_running_loop().time()
        if job.future.done():
            return None
        if job.deadline is not None and now >= job.deadline:
            job.future.set_exception(TimeoutError("the deadline passed before decoding"))
            return None
        self._metrics.stage("decode_queue", modality, now - job.arrived)
        return job

    async def _run(self, process: "_Process", job: _Job) -> bool:
        """Settles the job; False where the process is of no more use."""
        began = time.monotonic()
        try:
            async with asyncio.timeout(self._limits.seconds):
                result: np.ndarray | MediaError = await process.decode(job.view, job.data)
            usable = True
        except TimeoutError:
            self._metrics.decoder_lost("time")
            result = MediaError(f"takes over {self._limits.seconds:g} s to decode; send less")
            usable = False
        except (EOFError, OSError):
            how = await asyncio.to_thread(process.obituary)
            logger.error("a decoder %s on %d bytes of %s", how, len(job.data), job.view.modality)
            self._metrics.decoder_lost("crash")
            result = DecoderError(f"the {job.view.modality} decoder {how} on this file")
            usable = False
        # No answer of a process that a file may have subverted ends the decoding of the others.
        except Exception:
            logger.exception("a decoder's answer on %s is no use", job.view.modality)
            self._metrics.decoder_lost("crash")
            result = DecoderError(f"the {job.view.modality} decoder failed on this file")
            usable = False
        except asyncio.CancelledError:
            job.future.cancel()
            raise
        self._metrics.stage("decode", job.view.modality, time.monotonic() - began)
        if not job.future.done():
            if isinstance(result, MediaError):
                job.future.set_exception(result)
            else:
                job.future.set_result(result)
        return usable


class _Process:
    """One worker, our end of its socket, and the two files that carry what it takes and gives."""

    def __init__(self, limits: DecodeLimits) -> None:
        self._socket, theirs = socket.socketpair()
        with theirs, contextlib.ExitStack() as undo:
            undo.callback(self._socket.close)
            self._socket.setblocking(False)
            self._source = os.memfd_create("imp-file")
            undo.callback(os.close, self._source)
            self._sink = os.memfd_create("imp-array")
            undo.callback(os.close, self._sink)
            shared = (theirs.fileno(), self._source, self._sink)
            arguments = [*map(str, shared), str(limits.memory)]
            arguments.append(json.dumps(dataclasses.asdict(limits.media)))
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", _CODE, *arguments],
                # One thread each: there are as many processes as are wanted.
                env=os.environ
                | {
                    "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
                    "OMP_NUM_THREADS": "1",
                    "OPENBLAS_NUM_THREADS": "1",
                },
                stdin=subprocess.DEVNULL,
                pass_fds=shared,
                # A terminal's interrupt is for the server, which ends its workers.
                process_group=0,
            )
            undo.pop_all()

    @classmethod
    async def start(cls, limits: DecodeLimits) -> "_Process":
        process = cls(limits)
        try:
            kind, _ = await process._answer()
            assert kind == READY
        except EOFError as error:
            process.end()
            raise OSError("a decoder ended before it was ready; see above") from error
        except BaseException:
            process.end()
            raise
        return process

    @property
    def pid(self) -> int:
        return self._process.pid

    async def decode(self, view: View, data: bytes) -> np.ndarray | MediaError:
        """Raises EOFError or OSError when the process has ended."""
        await _copying(len(data), write, self._source, data)
        text = json.dumps(to_json(view)).encode()
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(self._socket, JOB.pack(len(text), len(data)) + text)
        kind, num_bytes = await self._answer()
        answer = await _copying(num_bytes, read, self._sink, num_bytes)
        for file, size in ((self._source, len(data)), (self._sink, num_bytes)):
            if size > _COPIED_AT_ONCE:
                os.ftruncate(file, 0)  # or one large file would be held for ever
        if kind == ARRAY:
            return np.frombuffer(answer, view.dtype).reshape(view.shape)
        return MediaError(answer.decode("utf-8", "replace"))

    async def _answer(self) -> tuple[int, int]:
        loop, header = asyncio.get_running_loop(), b""
        while len(header) < ANSWER.size:
            more = await loop.sock_recv(self._socket, ANSWER.size - len(header))
            if not more:
                raise EOFError
            header += more
        return ANSWER.unpack(header)

    def obituary(self) -> str:
        """How it ended, which it has."""
        try:
            status = self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            return "stopped answering"
        if status < 0:
            return f"was ended by {signal.Signals(-status).name}"
        return f"exited with {status}"

    def end(self) -> None:
        self._process.kill()
        self._process.wait()
        self._socket.close()
        os.close(self._source)
        os.close(self._sink)


async def _copying(
    num_bytes: int, copy: Callable[P, T], *arguments: P.args, **options: P.kwargs
) -> T:
    """copy(*arguments), in a thread where it takes long."""
    if num_bytes <= _COPIED_AT_ONCE:
        return copy(*arguments, **options)
    return await asyncio.to_thread(copy, *arguments, **options)
