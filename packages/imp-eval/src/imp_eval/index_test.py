import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imp_eval.index import Index, unit

KEYS = st.sampled_from("abcdefg")
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("upsert"), st.lists(KEYS, min_size=1, max_size=4)),
        st.tuples(st.just("delete"), st.lists(KEYS, min_size=1, max_size=4)),
    ),
    max_size=12,
)


@settings(max_examples=60, deadline=None)
@given(steps=STEPS, k=st.integers(1, 9))
def test_index_behaves_like_a_dict_sorted_by_cosine(steps, k) -> None:
    index, rng = Index(3), np.random.default_rng(0)
    model: dict[str, tuple[np.ndarray, str]] = {}
    for number, (change, keys) in enumerate(steps):
        if change == "upsert":
            # Few distinct values, so that scores tie.
            vectors = rng.integers(-1, 2, (len(keys), 3)).astype(np.float32)
            index.upsert(keys, vectors, [{"step": str(number)}] * len(keys))
            model |= {key: (v, str(number)) for key, v in zip(keys, vectors, strict=True)}
        else:
            assert index.delete(keys) == len(set(keys) & model.keys())
            model = {key: v for key, v in model.items() if key not in keys}
    assert len(index) == len(model)
    query = np.array([1, 0.5, 0], np.float32)
    want = sorted((-float(v @ query), key, step) for key, (v, step) in model.items())[:k]
    got = [(-hit.score, hit.id, hit.metadata["step"]) for hit in index.search(query, k)]
    assert got == want


@pytest.mark.parametrize(
    ("vector", "message"),
    [
        ([1.0, float("nan"), 0.0], "number 1 of the vector is nan"),
        ([1.0, 0.0, float("inf")], "number 2 of the vector is inf"),
        ([0.0, 0.0, 0.0], "all zeros"),
        ([1.0, 0.0], "2 numbers; this collection has 3"),
        ([], "0 numbers"),
    ],
)
def test_vectors_without_a_direction_are_refused(vector, message) -> None:
    with pytest.raises(ValueError, match=message):
        unit(np.array(vector, np.float32), 3)


def test_unit_survives_extreme_lengths() -> None:
    for scale in (1e-37, 8e37):
        got = unit(np.array([3, 4, 0], np.float32) * np.float32(scale), 3)
        np.testing.assert_allclose(got, [0.6, 0.8, 0], rtol=1e-5)
