"""A decoding process: a fresh interpreter that takes one file at a time and imports imp_data alone.

It reads media that strangers sent, so what it answers is bytes and lengths, never a pickle. A job
is a header on the socket (`JOB`, then the view as JSON) and the file in one anonymous file; the
answer is a header (`ANSWER`) and, in a second anonymous file, the array or a one-line reason.
"""

import contextlib
import functools
import json
import os
import pathlib
import resource
import socket
import struct
import sys

import numpy as np

from imp_data import media
from imp_data.media import Limits, MediaError
from imp_data.views import View, from_json

# Bytes of the view's JSON, bytes of the file.
JOB = struct.Struct("!IQ")
# What it is, and how many bytes of it.
ANSWER = struct.Struct("!BQ")
READY, ARRAY, REASON = range(3)
# The encoder goes first: what is decoded would wait for it anyway.
_NICE = 5


def main() -> None:
    """A worker's life, until its caller closes the socket. Arguments: three descriptors, the bytes
    of memory that decoding may take, and the media limits as JSON."""
    descriptor, source, sink, memory = map(int, sys.argv[1:5])
    limits = Limits(**json.loads(sys.argv[5]))
    _limit_memory(memory)
    os.nice(_NICE)
    with socket.socket(fileno=descriptor) as connection:
        # Its caller may be gone at any moment; then there is nobody to answer.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.sendall(ANSWER.pack(READY, 0))
            while header := connection.recv(JOB.size, socket.MSG_WAITALL):
                json_bytes, num_bytes = JOB.unpack(header)
                view = _view(connection.recv(json_bytes, socket.MSG_WAITALL))
                kind, answer = _decode(read(source, num_bytes), view, limits, memory)
                write(sink, answer)
                connection.sendall(ANSWER.pack(kind, len(answer)))


def read(file: int, num_bytes: int) -> bytes:
    """The file's first `num_bytes`."""
    data = os.pread(file, num_bytes, 0)
    assert len(data) == num_bytes, "the other side wrote less than it said"
    return data


def write(file: int, data: bytes | memoryview) -> None:
    """Writes all of `data` at the start."""
    rest, offset = memoryview(data), 0
    while rest:
        written = os.pwrite(file, rest, offset)
        rest, offset = rest[written:], offset + written


@functools.lru_cache(64)
def _view(text: bytes) -> View:
    return from_json(json.loads(text))


def _decode(data: bytes, view: View, limits: Limits, memory: int) -> tuple[int, bytes | memoryview]:
    try:
        array = media.load(data, view, limits=limits)
    except (MediaError, MemoryError) as error:
        if isinstance(error, MemoryError) or isinstance(error.__cause__, MemoryError):
            return REASON, b"needs over %d MiB to decode; send a smaller one" % (memory >> 20)
        return REASON, str(error).encode("utf-8", "replace")
    return ARRAY, np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def _limit_memory(memory: int) -> None:
    """Address space: what the interpreter and its libraries take already, and `memory` more."""
    pages = int(pathlib.Path("/proc/self/statm").read_text().split()[0])
    bound = pages * resource.getpagesize() + memory
    resource.setrlimit(resource.RLIMIT_AS, (bound, bound))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


if __name__ == "__main__":
    main()
