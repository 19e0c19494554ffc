"""Random colours that a drawing can be told from."""

from typing import TypeAlias

import numpy as np

Colour: TypeAlias = tuple[int, int, int]


def luminance(colour: Colour) -> float:
    """Relative luminance, 0 to 1 (WCAG 2.2)."""
    linear = [
        c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4
        for c in (channel / 255 for channel in colour)
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(first: Colour, second: Colour) -> float:
    """Contrast ratio, 1 to 21 (WCAG 2.2)."""
    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)


def draw(rng: np.random.Generator) -> Colour:
    red, green, blue = (int(channel) for channel in rng.integers(0, 256, 3))
    return red, green, blue


def draw_pair(rng: np.random.Generator, *, least: float = 3.0) -> tuple[Colour, Colour]:
    """Foreground and background whose contrast ratio is at least `least`."""
    while True:
        first, second = draw(rng), draw(rng)
        if contrast(first, second) >= least:
            return first, second


def draw_ink_on_paper(rng: np.random.Generator) -> tuple[Colour, Colour]:
    """A dark foreground and a light background of any hue."""
    while True:
        ink, paper = draw(rng), draw(rng)
        if luminance(ink) <= 0.12 and luminance(paper) >= 0.5:
            return ink, paper
