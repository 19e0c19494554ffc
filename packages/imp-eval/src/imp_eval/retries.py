"""Retries: which failed calls are asked again, and when; the same for both clients."""

import random
import time

import grpc

_HINT = "grpc-retry-pushback-ms"
# What grpc.aio says where a stream ended while it was being written to: the server's own status,
# which said why, is lost.
LOST_STATUS = "Internal error from Core"


class ServiceError(RuntimeError):
    """A call that failed; `code` is gRPC's name for it, such as NOT_FOUND."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Attempts:
    """Those of one call, within `timeout` seconds in all, or without end where it is None.

    Asked again is what the server never saw or says would pass later: UNAVAILABLE, and
    RESOURCE_EXHAUSTED with a word on when to come back. A message too large has none.
    """

    def __init__(self, timeout: float | None, attempts: int) -> None:
        self._end = None if timeout is None else time.monotonic() + timeout
        self._attempts = attempts
        self._made = 0

    @property
    def left(self) -> float | None:
        """Seconds for the next attempt."""
        return None if self._end is None else max(0.0, self._end - time.monotonic())

    def progressed(self) -> None:
        """What came before counts no more: a stream got an answer."""
        self._made = 0

    def pause(self, error: grpc.RpcError) -> float:
        """Seconds to wait before the next attempt. Raises ServiceError where there is none."""
        self._made += 1
        hint = _hint(error)
        code = error.code()
        passing = (
            code is grpc.StatusCode.UNAVAILABLE
            or (code is grpc.StatusCode.RESOURCE_EXHAUSTED and hint is not None)
            or (code is grpc.StatusCode.INTERNAL and error.details() == LOST_STATUS)
        )
        # Each +-50 %, so that callers who were refused together don't come back together.
        pause = 0.1 * 2 ** (self._made - 1) * random.uniform(0.5, 1.5)
        if hint is not None:
            pause = max(hint, min(pause, 1.0))
        late = self._end is not None and time.monotonic() + pause >= self._end
        if not passing or late or self._made >= self._attempts:
            raise ServiceError(code.name, _details(error)) from error
        return pause


def _hint(error: grpc.RpcError) -> float | None:
    for key, value in error.trailing_metadata() or ():
        if key == _HINT:
            return int(value) / 1000
    return None


def _details(error: grpc.RpcError) -> str:
    details = " ".join((error.details() or "").split())
    if error.code() is grpc.StatusCode.UNIMPLEMENTED:
        return f"what answers there is no IMP service ({details})"
    return details or error.code().name
