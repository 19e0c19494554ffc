import itertools
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imp_data.near_duplicates import decisions
from imp_data.near_duplicates.decisions import Match, decide

ITEMS = 12


class Relation:
    """Which pairs of items are alike."""

    def __init__(self, pairs):
        self.pairs = {frozenset(pair): similarity for pair, similarity in pairs.items()}

    def __call__(self, stay, new, within):
        pairs = {(a, b) for a in stay for b in new}
        pairs |= {(a, b) for a in new for b in new if a < b and within}
        assert len(pairs) == len({frozenset(pair) for pair in pairs})
        return [
            Match(item=a, other=b, kind="image", similarity=self.pairs[frozenset((a, b))])
            for a, b in sorted(pairs)
            if frozenset((a, b)) in self.pairs
        ]

    def has(self, a, b):
        return frozenset((a, b)) in self.pairs


@st.composite
def cases(draw):
    number = st.integers(0, ITEMS - 1)
    pair = st.tuples(number, number).filter(lambda p: p[0] != p[1])
    pairs = draw(st.dictionaries(pair, st.sampled_from([0.95, 1.0])))
    order = draw(st.permutations(range(ITEMS)))
    fixed = draw(st.integers(0, ITEMS))
    return Relation(pairs), order[:fixed], order[fixed:], draw(st.booleans())


@given(cases(), st.integers(1, 4), st.integers(1, 3))
def test_rounds_drop_what_all_pairs_at_once_would(case, first, growth):
    alike, fixed, rest, within = case
    with (
        mock.patch.object(decisions, "_FIRST", first),
        mock.patch.object(decisions, "_GROWTH", growth),
    ):
        dropped = decide(alike, fixed=fixed, rest=rest, within=within)
    stay = list(fixed)
    for item in rest:
        reasons = [other for other in stay if alike.has(item, other)]
        assert (item in dropped) == bool(reasons)
        if reasons:
            match = dropped[item]
            assert (match.item, match.similarity) == (
                item,
                alike.pairs[frozenset((item, match.other))],
            )
            assert match.other in reasons
        elif within:
            stay.append(item)


def test_the_first_in_order_stays_and_a_chain_does_not_go_along():
    chain = Relation({(i, i + 1): 0.95 for i in range(3)})
    assert set(decide(chain, fixed=[], rest=[0, 1, 2, 3], within=True)) == {1, 3}
    assert set(decide(chain, fixed=[], rest=[3, 1, 2, 0], within=True)) == {2, 0}


def test_the_likest_is_the_reason():
    both = Relation({(0, 1): 0.95, (0, 2): 1.0})
    dropped = decide(both, fixed=[1, 2], rest=[0], within=True)
    assert dropped[0].other == 2


@pytest.mark.parametrize(("num_fixed", "most"), [(0, 64 * 63 // 2 + 600), (100, 64 * 500)])
def test_a_set_of_which_all_are_alike_takes_few_comparisons(num_fixed, most):
    asked = 0

    def compare(stay, new, within):
        nonlocal asked
        asked += len(stay) * len(new) + within * len(new) * (len(new) - 1) // 2
        pairs = itertools.product(stay, new) if stay else itertools.combinations(new, 2)
        return [Match(item=a, other=b, kind="image", similarity=1.0) for a, b in pairs]

    rest = range(num_fixed, 600)
    dropped = decide(compare, fixed=range(num_fixed), rest=rest, within=True)
    assert len(dropped) == (500 if num_fixed else 599)
    # Of 179,700 pairs.
    assert asked <= most
