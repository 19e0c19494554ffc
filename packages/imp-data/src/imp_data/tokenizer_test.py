import pickle

import numpy as np
import pytest

from imp_data.tokenizer import Tokenizer

TEXTS = [f"a {colour} {thing}" for colour in ("red", "blue") for thing in ("house", "tree", "Café")]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return Tokenizer.train(TEXTS, tmp_path_factory.mktemp("t") / "tokenizer.model", 320)


def test_ids_end_and_are_padded(tokenizer):
    ids = tokenizer.encode(["a red house", ""], 12)
    assert ids.dtype == np.int32
    assert ids.shape == (2, 12)
    end = int(np.flatnonzero(ids[0] == 1)[0])
    assert (ids[0, :end] > 1).all()
    assert (ids[0, end + 1 :] == 0).all()
    assert ids[1].tolist() == [1] + [0] * 11


def test_long_texts_are_cut_and_still_end(tokenizer):
    ids = tokenizer.encode(["a red house " * 20], 8)
    assert ids[0, -1] == 1
    assert (ids[0, :-1] > 1).all()


def test_case_and_width_are_folded_and_any_script_survives(tokenizer):
    assert (tokenizer.encode(["A RED House"], 16) == tokenizer.encode(["a red house"], 16)).all()
    assert tokenizer.decode(tokenizer.encode(["日本の house"], 40)) == ["日本の house"]
    assert 2 not in tokenizer.encode(["日本 ξ 🙂"], 40)


def test_it_loads_pickles_and_trains_alike(tokenizer, tmp_path):
    again = Tokenizer.train(TEXTS, tmp_path / "t.model", 320)
    assert again.model == tokenizer.model
    for other in (Tokenizer.load(tmp_path / "t.model"), pickle.loads(pickle.dumps(tokenizer))):
        assert other.vocab_size == tokenizer.vocab_size
        assert (other.encode(TEXTS, 16) == tokenizer.encode(TEXTS, 16)).all()


def test_what_is_wrong_is_said(tmp_path):
    with pytest.raises(FileNotFoundError, match="imp-data tokenizer"):
        Tokenizer.load(tmp_path / "none")
    (tmp_path / "bad").write_bytes(b"no model")
    with pytest.raises(ValueError, match="bad: not a SentencePiece model"):
        Tokenizer.load(tmp_path / "bad")
    with pytest.raises(ValueError, match="vocab_size 100 must be at least"):
        Tokenizer.train(TEXTS, tmp_path / "t", 100)
    with pytest.raises(ValueError, match="no texts"):
        Tokenizer.train([" "], tmp_path / "t", 400)
    assert not (tmp_path / "t").exists()
