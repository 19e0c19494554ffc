import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imp_data.near_duplicates import minhash

WORDS = st.lists(
    st.sampled_from(["red", "green", "small", "box", "house", "arrow", "up", "down"]), min_size=1
)


def shingles(text):
    padded = f" {minhash.normalise(text)} "
    return {padded[i : i + 4] for i in range(max(1, len(padded) - 3))}


def jaccard(a, b):
    row = np.zeros((1, 4), np.int64)
    prints = [minhash.of_texts([text]) for text in (a, b)]
    return float(minhash.similarity(*prints, row, 0.8)[0])


@given(WORDS, WORDS)
def test_the_check_is_the_jaccard_similarity_of_the_shingles(a, b):
    one, other = shingles(" ".join(a)), shingles(" ".join(b))
    wanted = len(one & other) / len(one | other)
    assert jaccard(" ".join(a), " ".join(b)) == pytest.approx(wanted)


def test_a_page_is_estimated():
    rng = np.random.default_rng(0)
    words = [f"w{number}" for number in rng.integers(0, 10_000, 3_000)]
    one, other = " ".join(words[:2_500]), " ".join(words[500:])
    wanted = len(shingles(one) & shingles(other)) / len(shingles(one) | shingles(other))
    # A binomial share of 256: four standard deviations.
    assert abs(jaccard(one, other) - wanted) < 4 * np.sqrt(wanted * (1 - wanted) / 256)


def test_marks_and_capitals_make_no_difference():
    assert jaccard("A Small—Box!", "a small box") == 1.0
    assert len(minhash.of_texts(["", "…", "a"]).owner) == 1


def test_similar_captions_share_a_band_and_others_do_not():
    close = minhash.of_texts(
        ["a small red box on the table", "a small red box on the table now", "two dogs at sea"]
    ).query
    shared = [(close[0] == close[i]).any() for i in (1, 2)]
    assert shared == [True, False]
