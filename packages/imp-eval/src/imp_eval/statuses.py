"""Our errors as gRPC statuses, with details of google.rpc: the field, and when to come back."""

from typing import NamedTuple

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from imp_eval.batcher import ComputeError, OverloadedError
from imp_eval.decoding import DecoderError
from imp_eval.fields import FieldError
from imp_eval.models import UnknownModelError
from imp_eval.retrieval_service import StaleCollectionError
from imp_eval.tokens import RateLimitError, UnauthenticatedError
from imp_eval.vector_store import AlreadyExistsError, NotFoundError

Code = grpc.StatusCode


class DrainingError(RuntimeError):
    """The server is going away; another one, or this one later, will answer."""


# The first that fits counts: the special ones stand before those that they derive from.
_CODES: tuple[tuple[type[Exception], grpc.StatusCode], ...] = (
    (NotFoundError, Code.NOT_FOUND),
    (UnknownModelError, Code.NOT_FOUND),
    (AlreadyExistsError, Code.ALREADY_EXISTS),
    (StaleCollectionError, Code.FAILED_PRECONDITION),
    (UnauthenticatedError, Code.UNAUTHENTICATED),
    (RateLimitError, Code.RESOURCE_EXHAUSTED),
    (OverloadedError, Code.RESOURCE_EXHAUSTED),
    (DrainingError, Code.UNAVAILABLE),
    (DecoderError, Code.INTERNAL),
    (ComputeError, Code.INTERNAL),
    (TimeoutError, Code.DEADLINE_EXCEEDED),
    (ValueError, Code.INVALID_ARGUMENT),
    (OSError, Code.INTERNAL),
)
# What servicers may raise; any other error is a bug of ours: UNKNOWN, and a traceback.
ERRORS = tuple(kind for kind, _ in _CODES)


class Status(NamedTuple):
    """What `context.abort` takes."""

    code: grpc.StatusCode
    message: str
    trailing: tuple[tuple[str, str | bytes], ...]


def status_of(error: Exception) -> Status:
    """Of an error that is one of ERRORS. grpcio-status reads its details from what trails."""
    code = next(code for kind, code in _CODES if isinstance(error, kind))
    message = " ".join(str(error).split()) or type(error).__name__
    details: list[Message] = []
    trailing: list[tuple[str, str | bytes]] = []
    if isinstance(error, OverloadedError | RateLimitError):
        milliseconds = max(1, round(error.retry_after * 1000))
        delay = duration_pb2.Duration()
        delay.FromMilliseconds(milliseconds)
        details.append(error_details_pb2.RetryInfo(retry_delay=delay))
        trailing.append(("grpc-retry-pushback-ms", str(milliseconds)))
    if code is Code.INVALID_ARGUMENT:
        violation = error_details_pb2.BadRequest.FieldViolation(
            field=error.field if isinstance(error, FieldError) else "", description=message
        )
        details.append(error_details_pb2.BadRequest(field_violations=[violation]))
    if details:
        packed = []
        for detail in details:
            packed.append(any_pb2.Any())
            packed[-1].Pack(detail)
        status = status_pb2.Status(code=code.value[0], message=message, details=packed)
        trailing.append(("grpc-status-details-bin", status.SerializeToString()))
    return Status(code, message, tuple(trailing))
