"""Pages: where one ends, as an opaque token that fits the request it came from and no other."""

import base64
import binascii
import dataclasses
import hashlib
import json
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np

from imp_eval.filters import Filter
from imp_eval.vector_store import Collection, Hit

# How far down the pages of a search go.
MAX_DEPTH = 10_000
_MAX_TOKEN_CHARS = 4096
Position: TypeAlias = list[str | float | int]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pager:
    """Makes and reads the tokens of requests that are equal but for their token and page size."""

    request: str

    @classmethod
    def of(cls, *parts: bytes | str) -> "Pager":
        """`parts` say what the request asks for."""
        digest = hashlib.sha256()
        for part in parts:
            encoded = part.encode() if isinstance(part, str) else part
            digest.update(len(encoded).to_bytes(8, "big") + encoded)
        return cls(request=digest.hexdigest()[:16])

    def token(self, position: Position) -> str:
        encoded = json.dumps([self.request, *position], separators=(",", ":")).encode()
        return base64.urlsafe_b64encode(encoded).decode()

    def position(self, token: str, kinds: Sequence[type]) -> Position | None:
        """None for the first page. Raises ValueError for a token that this request never gave."""
        if not token:
            return None
        try:
            if len(token) > _MAX_TOKEN_CHARS:
                raise ValueError("too long")
            request, *position = json.loads(base64.urlsafe_b64decode(token.encode()))
            if [type(value) for value in position] != list(kinds):
                raise ValueError("of another kind")
        except (ValueError, TypeError, RecursionError, binascii.Error) as error:
            raise ValueError(
                f"page_token {token[:40]!r} is none of this server's; leave it empty to begin"
            ) from error
        if request != self.request:
            raise ValueError(
                "page_token belongs to another request; only the page size may change between pages"
            )
        return position


async def search_page(
    collection: Collection,
    vector: np.ndarray,
    k: int,
    *,
    where: Filter | None,
    exact: bool,
    pager: Pager,
    token: str,
) -> tuple[list[Hit], str]:
    """A page of hits, best first, equal ones by id; and the next one's token, "" after the last.

    A hit is after the position when it is worse than it, so that what comes and goes between pages
    neither repeats a hit nor hides one that was there all along. Raises ValueError for a bad token.
    """
    position = pager.position(token, (int, float, str))
    seen, *last = position or [0]
    if not isinstance(seen, int) or not 0 <= seen <= MAX_DEPTH:
        raise ValueError(f"a page of {seen} is none that this server gave")
    after = _order_of(last) if last else None
    num = seen + k + 1
    while True:
        hits = sorted(await collection.search(vector, num, where, exact=exact), key=_order)
        left = [hit for hit in hits if after is None or _order(hit) > after]
        whole = len(hits) < num
        # Among equals at the end of what the store gave, the ids that come first may be missing.
        settled = whole or (len(left) > k and left[k - 1].score > hits[-1].score)
        if settled or num > MAX_DEPTH:
            break
        num *= 4
    page = left[:k]
    if len(left) <= k or seen + k >= MAX_DEPTH:
        return page, ""
    return page, pager.token([seen + k, page[-1].score, page[-1].id])


def _order(hit: Hit) -> tuple[float, str]:
    return -hit.score, hit.id


def _order_of(last: Sequence[object]) -> tuple[float, str]:
    score, key = last
    assert isinstance(score, float)
    assert isinstance(key, str)
    return -score, key
