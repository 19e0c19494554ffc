"""Decisions: which of the examples that are alike are dropped. A pure function of the pairs."""

import dataclasses
from collections.abc import Iterable, Sequence

from imp_data.near_duplicates.kinds import Kind


@dataclasses.dataclass(frozen=True, kw_only=True, order=True)
class Match:
    """`item` of the set is like `other`, of the set too or of a reference.

    Numbers count the set's items, then each reference's; `similarity` is 0 to 1.
    """

    item: int
    other: int
    kind: Kind
    similarity: float


def decide(
    matches: Iterable[Match], *, num_items: int, order: Sequence[int], held_out: Sequence[bool]
) -> dict[int, Match]:
    """Item -> the match for which it is dropped.

    `order` ranks the set's items; the lowest rank among alike ones stays. What is held out (a test
    split) is never dropped, and all of it ranks first. An item like a reference is dropped. One
    like an item that stays is dropped; being like a dropped one is no reason, so that a chain of
    small differences does not take everything along.
    """
    likes: dict[int, list[Match]] = {}
    for match in sorted(matches):
        likes.setdefault(match.item, []).append(match)
        if match.other < num_items:
            back = dataclasses.replace(match, item=match.other, other=match.item)
            likes.setdefault(match.other, []).append(back)
    dropped: dict[int, Match] = {}
    stays = {item for item in range(num_items) if held_out[item]}
    for item in sorted(likes, key=lambda item: (not held_out[item], order[item])):
        if held_out[item]:
            continue
        reasons = [m for m in likes[item] if m.other >= num_items or m.other in stays]
        if reasons:
            # A reference before the set itself, then the likest.
            dropped[item] = min(
                reasons, key=lambda m: (m.other < num_items, -m.similarity, m.other, m.kind)
            )
        else:
            stays.add(item)
    return dropped
