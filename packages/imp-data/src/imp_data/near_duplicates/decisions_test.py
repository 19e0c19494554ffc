from hypothesis import given
from hypothesis import strategies as st

from imp_data.near_duplicates.decisions import Match, decide

ITEMS, ALL = 8, 11


@st.composite
def cases(draw):
    pair = st.tuples(st.integers(0, ITEMS - 1), st.integers(0, ALL - 1)).filter(
        lambda p: p[0] != p[1]
    )
    matches = [
        Match(item=min(p), other=max(p), kind="image", similarity=s)
        for p, s in draw(st.dictionaries(pair, st.sampled_from([0.95, 1.0]))).items()
    ]
    order = draw(st.permutations(range(ITEMS)))
    held_out = draw(st.lists(st.booleans(), min_size=ITEMS, max_size=ITEMS))
    return matches, order, held_out


@given(cases(), st.randoms())
def test_what_stays_is_unlike_and_what_goes_has_its_reason(case, random):
    matches, order, held_out = case
    dropped = decide(matches, num_items=ITEMS, order=order, held_out=held_out)
    shuffled = random.sample(matches, len(matches))
    assert decide(shuffled, num_items=ITEMS, order=order, held_out=held_out) == dropped
    pairs = {(m.item, m.other) for m in matches} | {(m.other, m.item) for m in matches}
    for one, other in pairs:
        if one < ITEMS and one not in dropped and not held_out[one]:
            assert other in dropped, "two that are alike stay, or one that is like a reference"
    for item, match in dropped.items():
        assert not held_out[item]
        assert (item, match.other) in pairs
        assert match.other not in dropped


def test_the_first_in_order_stays_and_a_chain_does_not_go_along():
    chain = [Match(item=i, other=i + 1, kind="image", similarity=0.95) for i in range(3)]
    options = {"num_items": 4, "held_out": [False] * 4}
    assert set(decide(chain, order=[0, 1, 2, 3], **options)) == {1, 3}
    assert set(decide(chain, order=[9, 1, 2, 3], **options)) == {0, 2}


def test_a_reference_is_the_reason_before_the_set():
    matches = [
        Match(item=0, other=1, kind="image", similarity=1.0),
        Match(item=0, other=2, kind="image", similarity=0.95),
    ]
    dropped = decide(matches, num_items=2, order=[1, 0], held_out=[False, False])
    assert dropped[0].other == 2
