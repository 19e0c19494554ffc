"""Decisions: who is compared with whom, and which of the examples that are alike are dropped.

All pairs of a set in which very many are alike would be the square of it. So the set is compared in
rounds, in its order: each round's examples with what stays of the rounds before, then those left
with each other. The order is random, so that a large group is met first by a few of its members;
all its others are compared with the one that stays.
"""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeAlias

from imp_data.near_duplicates.kinds import Kind

_FIRST, _GROWTH = 64, 8


@dataclasses.dataclass(frozen=True, kw_only=True, order=True)
class Match:
    """`item` is like `other`; `similarity` is 0 to 1."""

    item: int
    other: int
    kind: Kind
    similarity: float

    @property
    def turned(self) -> "Match":
        """The same, seen from the other."""
        return dataclasses.replace(self, item=self.other, other=self.item)


Compare: TypeAlias = Callable[[Sequence[int], Sequence[int], bool], Iterable[Match]]
"""(stay, new, within) -> each match once: of `new` with `stay` and, `within`, with each other."""


def decide(
    compare: Compare, *, fixed: Sequence[int], rest: Sequence[int], within: bool
) -> dict[int, Match]:
    """Item of `rest` -> the match for which it is dropped, which is with one that stays.

    What is `fixed` stays. Of `rest`, in order, one like a fixed one is dropped and, with `within`,
    one like an earlier one that stays; being like a dropped one is no reason, so that a chain of
    small differences does not take everything along. The match is the likest of the first round
    that found any.
    """
    dropped: dict[int, Match] = {}
    left = list(rest)
    for block in _rounds(fixed):
        if left:
            dropped |= _likest(compare(block, left, False), set(left))
            left = _without(left, dropped)
    if not within:
        return dropped
    stays: list[int] = []
    for block in _rounds(left):
        if stays:
            dropped |= _likest(compare(stays, block, False), set(block))
            block = _without(block, dropped)
        if len(block) > 1:
            dropped |= _greedy(compare([], block, True), block)
        stays += _without(block, dropped)
    return dropped


def _rounds(items: Sequence[int]) -> Iterator[list[int]]:
    start, size = 0, _FIRST
    while start < len(items):
        yield list(items[start : start + size])
        start, size = start + size, size * _GROWTH


def _without(items: Iterable[int], dropped: dict[int, Match]) -> list[int]:
    return [item for item in items if item not in dropped]


def _likest(matches: Iterable[Match], new: set[int]) -> dict[int, Match]:
    """Of matches of something new with something that stays: each new one's likest."""
    best: dict[int, Match] = {}
    for match in matches:
        seen = match if match.item in new else match.turned
        best[seen.item] = min(best.get(seen.item, seen), seen, key=_rank)
    return best


def _greedy(matches: Iterable[Match], order: Sequence[int]) -> dict[int, Match]:
    """In order, one stays unless it is like one that does."""
    place = {item: number for number, item in enumerate(order)}
    earlier: dict[int, list[Match]] = {}
    for match in matches:
        later = match if place[match.other] < place[match.item] else match.turned
        earlier.setdefault(later.item, []).append(later)
    dropped: dict[int, Match] = {}
    for item in order:
        if reasons := [m for m in earlier.get(item, []) if m.other not in dropped]:
            dropped[item] = min(reasons, key=_rank)
    return dropped


def _rank(match: Match) -> tuple[float, int, str]:
    return -match.similarity, match.other, match.kind
