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


def draw_ink(rng: np.random.Generator) -> Colour:
    """A dark colour of any hue."""
    return _draw(rng, 0, 100)


def draw_paper(rng: np.random.Generator) -> Colour:
    """A light colour of any hue that any ink shows on."""
    return _draw(rng, 215, 256)


def _draw(rng: np.random.Generator, low: int, high: int) -> Colour:
    red, green, blue = (int(channel) for channel in rng.integers(low, high, 3))
    return red, green, blue
