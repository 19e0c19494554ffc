"""Label conflicts: examples that are alike, and that two people labelled differently."""

from collections.abc import Collection


def conflict(one: Collection[str], other: Collection[str], shared: Collection[str]) -> bool:
    """Whether both have labels, and other ones.

    Only the `shared` names count, those that both sets use: a set with other classes contradicts
    nothing.
    """
    left, right = set(one) & set(shared), set(other) & set(shared)
    return bool(left) and bool(right) and left != right
