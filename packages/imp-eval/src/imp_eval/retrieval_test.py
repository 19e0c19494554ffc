import itertools
import statistics

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imp_eval import retrieval


def orderings(row: list[int]) -> list[tuple[int, ...]]:
    """Every ranking of the items, best first, that agrees with the scores."""
    return [
        order
        for order in itertools.permutations(range(len(row)))
        if all(row[a] >= row[b] for a, b in itertools.pairwise(order))
    ]


def rank_of_first(order: tuple[int, ...], relevant: list[bool]) -> int:
    return next(place for place, item in enumerate(order, start=1) if relevant[item])


ROWS = st.lists(
    st.tuples(
        st.lists(st.integers(0, 2), min_size=5, max_size=5),
        st.lists(st.booleans(), min_size=5, max_size=5).filter(any),
    ),
    min_size=1,
    max_size=3,
)


@settings(max_examples=80, deadline=None)
@given(rows=ROWS, k=st.integers(1, 6))
def test_every_figure_equals_the_mean_over_all_orderings(rows, k) -> None:
    scores = np.array([row for row, _ in rows], np.float32)
    relevant = np.array([answer for _, answer in rows])
    ranks = [[rank_of_first(o, answer) for o in orderings(row)] for row, answer in rows]
    want_recall = [np.mean([r <= k for r in rs]) for rs in ranks]
    want_first = [np.mean(rs) for rs in ranks]
    want_precision = [np.mean([r == 1 for r in rs]) for rs in ranks]
    np.testing.assert_allclose(retrieval.recall_at_k(scores, relevant, k), want_recall)
    np.testing.assert_allclose(retrieval.first_rank(scores, relevant), want_first)
    np.testing.assert_allclose(retrieval.precision_at_1(scores, relevant), want_precision)


@settings(max_examples=30, deadline=None)
@given(rows=ROWS, k=st.integers(1, 6))
def test_chance_equals_enumeration_of_random_rankings(rows, k) -> None:
    relevant = np.array([answer for _, answer in rows])
    ranks = [
        rank_of_first(order, answer)
        for _, answer in rows
        for order in itertools.permutations(range(5))
    ]
    assert retrieval.chance_recall_at_k(relevant.sum(1), 5, k) == pytest.approx(
        np.mean([r <= k for r in ranks])
    )
    assert retrieval.chance_median_rank(relevant.sum(1), 5) == statistics.median_low(ranks)


def test_constant_scores_get_chance() -> None:
    relevant = retrieval.same(["a", "a", "b", "c"], ["a", "b", "c", "c", "a", "d"])
    got = retrieval.score(np.zeros(relevant.shape), relevant)
    assert got.recall == pytest.approx(got.chance_recall)
    assert got.precision_at_1 == pytest.approx(got.chance_precision_at_1)


def test_a_twin_caption_counts_as_correct() -> None:
    texts = ["red square", "blue disc", "red square"]
    relevant = retrieval.same(texts, texts)
    # Item 2 outranks item 0 for query 0, but says the same.
    scores = np.array([[0.8, 0.1, 0.9], [0.2, 0.7, 0.1], [0.9, 0.0, 0.8]])
    got = retrieval.score(scores, relevant)
    assert (got.recall[1], got.median_rank, got.precision_at_1) == (1.0, 1.0, 1.0)
    assert got.chance_recall[1] == pytest.approx((2 / 3 + 1 / 3 + 2 / 3) / 3)


def test_many_correct_answers_do_not_overflow() -> None:
    relevant = np.ones((2, 3000), bool)
    relevant[1, 10:] = False
    assert retrieval.chance_recall_at_k(relevant.sum(1), 3000, 3000) == 1.0
    assert retrieval.chance_recall_at_k(relevant.sum(1), 3000, 1) == pytest.approx(
        (1 + 10 / 3000) / 2
    )


@pytest.mark.parametrize(
    ("scores", "relevant", "message"),
    [
        (np.zeros((1, 3)), np.zeros((1, 3), bool), "query 0 has no correct answer"),
        (np.full((1, 2), np.nan), np.ones((1, 2), bool), "NaN"),
        (np.zeros((1, 2)), np.ones((1, 3), bool), "both be"),
    ],
)
def test_bad_arrays_are_refused(scores, relevant, message) -> None:
    with pytest.raises(ValueError, match=message):
        retrieval.score(scores, relevant)


@pytest.mark.parametrize("size", [1, 4, 100])
def test_queries_in_blocks_score_as_all_at_once(size) -> None:
    rng = np.random.default_rng(0)
    scores, relevant = rng.integers(0, 4, (9, 7)).astype(float), rng.random((9, 7)) < 0.4
    relevant[:, 0] = True
    blocks = [
        retrieval.Queries.of(scores[i : i + size], relevant[i : i + size])
        for i in range(0, 9, size)
    ]
    assert retrieval.Queries.joined(blocks).scores() == retrieval.score(scores, relevant)
