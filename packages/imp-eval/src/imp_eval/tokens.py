"""Bearer tokens: who may call, and how many items a second.

A tokens file holds a line for each: a name, the SHA-256 of the token in hexadecimal, and if the
caller is to be bounded, items per second. The token itself is nowhere. `#` begins a comment.
"""

import contextvars
import dataclasses
import hashlib
import hmac
import pathlib
import secrets
import time
from collections.abc import Callable, Mapping


class UnauthenticatedError(RuntimeError):
    """No token, or none that the server knows."""


class RateLimitError(RuntimeError):
    """The caller's rate is used up; `retry_after` in seconds says when it won't be."""

    def __init__(self, message: str, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Caller:
    """One token's holder and what is left of its rate.

    Items are charged when they are known, which may lead into debt; the next call is refused until
    that is paid off. So a call may hold more than a second's items, and the rate is kept.
    """

    def __init__(
        self, name: str, rate: float | None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.name, self.rate = name, rate
        self._clock = clock
        self._left, self._at = rate or 0.0, clock()

    def charge(self, num_items: int) -> None:
        if self.rate is not None:
            self._refill(self.rate)
            self._left -= num_items

    def debt(self) -> float:
        """Seconds until another call may come: 0 now."""
        if self.rate is None:
            return 0.0
        self._refill(self.rate)
        return max(0.0, (1 - self._left) / self.rate) if self._left <= 0 else 0.0

    def check(self) -> None:
        """Raises RateLimitError while there is debt."""
        if (wait := self.debt()) > 0:
            raise RateLimitError(
                f"{self.name} has used up its {self.rate:g} items a second; try again later", wait
            )

    def _refill(self, rate: float) -> None:
        now = self._clock()
        self._left = min(max(rate, 1.0), self._left + (now - self._at) * rate)
        self._at = now


# Of the call that this task serves.
_caller: contextvars.ContextVar[Caller | None] = contextvars.ContextVar("caller", default=None)


def set_caller(caller: Caller | None) -> None:
    _caller.set(caller)


def current_caller() -> Caller | None:
    return _caller.get()


def charge(num_items: int) -> None:
    """Charges the call's holder beyond the one item that every call counts as."""
    caller = _caller.get()
    if caller is not None and num_items > 1:
        caller.charge(num_items - 1)


@dataclasses.dataclass(frozen=True)
class Tokens:
    """SHA-256 of each token -> its holder."""

    callers: Mapping[str, Caller]

    @classmethod
    def load(cls, path: pathlib.Path) -> "Tokens":
        """Raises FileNotFoundError, and ValueError that quotes the line that is wrong."""
        if not path.is_file():
            raise FileNotFoundError(
                f"no tokens file {path}; make a line with `imp-eval token NAME`"
            )
        try:
            text = path.read_text("utf-8")
        except UnicodeDecodeError as error:
            raise ValueError(
                f"{path} is no text; write a line of `imp-eval token NAME` into a file"
            ) from error
        callers: dict[str, Caller] = {}
        for number, line in enumerate(text.splitlines(), 1):
            words = line.partition("#")[0].split()
            if not words:
                continue
            try:
                name, digest, rate = _parse(words)
            except ValueError as error:
                raise ValueError(f"{path}, line {number}: {error}") from None
            callers[digest] = Caller(name, rate)
        if not callers:
            raise ValueError(f"{path} holds no token; make a line with `imp-eval token NAME`")
        return cls(callers)

    def authenticate(self, metadata: Mapping[str, str]) -> Caller:
        """The holder of the token in a call's `authorization: Bearer …`.

        Raises UnauthenticatedError.
        """
        scheme, _, token = metadata.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise UnauthenticatedError(
                "the call carries no token; send authorization: Bearer TOKEN"
            )
        digest = hashlib.sha256(token.strip().encode()).hexdigest()
        # Digests of secrets: what a comparison's time tells is of no use, yet it tells nothing.
        found = [c for known, c in self.callers.items() if hmac.compare_digest(known, digest)]
        if not found:
            raise UnauthenticatedError("the call's token is unknown here")
        return found[0]


def new_token(name: str, rate: float | None) -> tuple[str, str]:
    """A random token, and its line in a tokens file. ValueError for a name of several words."""
    token = secrets.token_urlsafe(32)
    digest = hashlib.sha256(token.encode()).hexdigest()
    line = f"{name} {digest}" + ("" if rate is None else f" {rate:g}")
    if len(name.split()) != 1 or "#" in name:
        raise ValueError(f"the name {name[:80]!r} must be one word without #")
    _parse(line.split())
    return token, line


def _parse(words: list[str]) -> tuple[str, str, float | None]:
    if len(words) not in (2, 3):
        raise ValueError("give a name without spaces, a SHA-256 and perhaps items per second")
    name, digest = words[0], words[1].lower()
    if len(digest) != 64 or set(digest) - set("0123456789abcdef"):
        raise ValueError(
            f"{words[1][:80]!r} is no SHA-256 in hexadecimal; `imp-eval token NAME` makes a line"
        )
    if len(words) == 2:
        return name, digest, None
    try:
        rate = float(words[2])
    except ValueError:
        rate = 0.0
    if not 0 < rate < float("inf"):
        raise ValueError(f"{words[2][:80]!r} is no number of items per second above 0")
    return name, digest, rate
