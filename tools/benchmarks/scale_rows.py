"""A page of tables whose lines are (what, how much, whence)."""

import textwrap
from collections.abc import Sequence
from typing import TypeAlias

Row: TypeAlias = tuple[str, str, str]
# A heading, the line above its table, the table, and what follows it.
Section: TypeAlias = tuple[str, str, Sequence[str], str]

_UNITS = ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def figures(rows: Sequence[Row]) -> list[str]:
    """The usual table."""
    return table(("", "", "reckoned as"), rows)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return [f"| {' | '.join(head)} |", "|---" * len(head) + "|", *lines]


def page(head: str, sections: Sequence[Section]) -> str:
    parts = [head]
    for heading, before, lines, after in sections:
        parts += [f"## {heading}\n", _wrapped(before), "\n".join(lines) + "\n"]
        parts += [_wrapped(after)] if after else []
    return "\n".join(parts)


def _wrapped(text: str) -> str:
    lines = textwrap.wrap(text, 110, break_long_words=False, break_on_hyphens=False)
    return "\n".join(lines) + "\n"


def number(value: float) -> str:
    """Three figures, as 12.3, 1,230 or 0.123."""
    if value >= 100:
        digits = max(0, len(str(int(value))) - 3)
        return f"{round(value, -digits):,.0f}"
    return f"{value:.3g}"


def size(value: float, unit: str = "B") -> str:
    """Bytes and the like: 2.16 PB."""
    for factor, letter in _UNITS:
        if value >= factor:
            return f"{number(value / factor)} {letter}{unit}"
    return f"{number(value)} {unit}"


def span(seconds: float) -> str:
    for factor, unit in ((86_400, "days"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * factor:
            return f"{number(seconds / factor)} {unit}"
    return f"{number(seconds)} s"
