import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imp_eval import prompts, zero_shot


def loop_top_k(row: list[int], label: int, k: int) -> float:
    """The fraction of orderings, ties broken in every way, with label in the top k."""
    found = total = 0
    for order in itertools.permutations(range(len(row))):
        if any(row[a] < row[b] for a, b in itertools.pairwise(order)):
            continue
        total += 1
        found += label in order[:k]
    return found / total


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(st.lists(st.integers(0, 2), min_size=5, max_size=5), min_size=1, max_size=3),
    k=st.integers(1, 6),
    data=st.data(),
)
def test_top_k_equals_the_mean_over_all_orderings(rows, k, data) -> None:
    labels = [data.draw(st.integers(0, 4)) for _ in rows]
    got = zero_shot.top_k(np.array(rows, np.float32), np.array(labels), k)
    want = [loop_top_k(row, label, k) for row, label in zip(rows, labels, strict=True)]
    np.testing.assert_allclose(got, want)


def test_constant_scores_get_chance() -> None:
    got = zero_shot.score(np.zeros((12, 8)), np.arange(12) % 8)
    assert got.top_1 == pytest.approx(got.chance_top_1) == pytest.approx(1 / 8)
    assert got.top_5 == pytest.approx(got.chance_top_5) == pytest.approx(5 / 8)
    assert got.mean_per_class == pytest.approx(1 / 8)


def test_mean_per_class_weighs_classes_equally_and_skips_absent_ones() -> None:
    labels = np.array([3, 3, 3, 7])
    assert zero_shot.mean_per_class(np.array([1.0, 1.0, 0.0, 0.0]), labels) == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("scores", "labels", "message"),
    [
        (np.zeros((2, 3)), np.array([0, 3]), "within 0..2"),
        (np.zeros((2, 3)), np.array([-1, 0]), "within 0..2"),
        (np.full((1, 3), np.nan), np.array([0]), "NaN"),
        (np.zeros((0, 3)), np.array([], np.int64), "not empty"),
        (np.zeros((2, 3)), np.array([0]), r"\[n, y\]"),
    ],
)
def test_bad_arrays_are_refused(scores, labels, message) -> None:
    with pytest.raises(ValueError, match=message):
        zero_shot.score(scores, labels)


def test_class_embeddings_average_directions() -> None:
    one = np.array([[[1, 0], [0, 1]], [[0, 1], [0, 1]]], np.float32)
    got = zero_shot.class_embeddings(one)
    np.testing.assert_allclose(got, np.array([[2**-0.5, 2**-0.5], [0, 1]]), rtol=1e-6)
    assert got.dtype == np.float32
    assert np.isfinite(zero_shot.class_embeddings(np.array([[[1, 0], [-1, 0]]], np.float32))).all()


def test_probabilities_survive_large_scales() -> None:
    got = zero_shot.probabilities(np.array([[1.0, 0.5, -1.0]], np.float32), 1e4)
    np.testing.assert_array_equal(got, [[1, 0, 0]])
    flat = zero_shot.probabilities(np.zeros((2, 4), np.float32), 20.0)
    np.testing.assert_allclose(flat, 0.25)


def test_prompts_fill_every_template_and_keep_other_braces() -> None:
    assert prompts.fill(["{}", "a {} {x}"], ["cat", "{y}"]) == [
        ["cat", "a cat {x}"],
        ["{y}", "a {y} {x}"],
    ]
    for templates in prompts.TEMPLATES.values():
        assert prompts.fill(templates, ["dog"])
    for bad in ([], ["no place"], ["{} {}"]):
        with pytest.raises(ValueError, match="template"):
            prompts.fill(bad, ["dog"])
