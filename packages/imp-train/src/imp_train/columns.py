"""Columns: rows of cells as aligned text."""

from collections.abc import Sequence


def aligned(rows: Sequence[Sequence[str]], *, right: str = "", indent: str = "") -> list[str]:
    """One line a row, columns two spaces apart; those whose place in `right` is ">" end evenly."""
    if not rows:
        return []
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    sides = right.ljust(len(widths), "<")
    lines = []
    for row in rows:
        cells = [
            f"{cell:{side}{width}}" for cell, side, width in zip(row, sides, widths, strict=True)
        ]
        lines.append((indent + "  ".join(cells)).rstrip())
    return lines


def short(number: float) -> str:
    """ "950", "16.8 M": at most three digits and a half, in thousands."""
    for unit in ("", " k", " M", " G", " T", " P", " E"):
        if abs(number) < 999.5 or unit == " E":
            break
        number /= 1000
    return f"{number:.3g}{unit}"
