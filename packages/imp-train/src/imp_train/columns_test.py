"""Aligned columns, and numbers in thousands."""

import pytest

from imp_train.columns import aligned, short


def test_columns_align_by_their_side():
    rows = [("task", "steps", "x"), ("a", "1,000", ""), ("longer", "7", "yy")]
    assert aligned(rows, right="<>", indent=" ") == [
        " task    steps  x",
        " a       1,000",
        " longer      7  yy",
    ]
    assert aligned([]) == []


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (0, "0"),
        (950, "950"),
        (999.6, "1 k"),
        (16_777_216, "16.8 M"),
        (1.88e9, "1.88 G"),
        (3e21, "3e+03 E"),
    ],
)
def test_short_numbers(number, words):
    assert short(number) == words
