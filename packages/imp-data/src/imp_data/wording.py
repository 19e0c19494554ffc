"""Wording: numbers with their nouns, as a reader expects them."""


def count(number: int, one: str, several: str) -> str:
    """ "1 example", "2 examples"."""
    return f"{number} {one if number == 1 else several}"
