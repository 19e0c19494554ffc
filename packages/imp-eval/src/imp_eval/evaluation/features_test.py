import numpy as np
import pytest

from imp_data.media import clips as media_clips
from imp_data.media import load
from imp_data.sources import Item
from imp_data.tokenizer import Tokenizer
from imp_data.views import VideoView
from imp_eval.conftest import mp4, png
from imp_eval.evaluation import features
from imp_eval.evaluation.examples import Files, Texts
from imp_eval.evaluation.features import extract

PAIR = ("image", "text")


@pytest.fixture
def files(tmp_path):
    for i in range(13):
        (tmp_path / f"{i}.png").write_bytes(png(i) if i != 4 else b"broken")
    return Files([Item(id=str(i), path=str(tmp_path / f"{i}.png")) for i in range(14)])


def test_examples_are_pooled_in_order_and_broken_ones_told(pooled, files) -> None:
    found = extract(pooled, "image", files, num_threads=3)
    assert found.counts.tolist() == [1] * 4 + [0] + [1] * 8 + [0]
    assert sorted(found.problems) == [4, 13]
    assert "not a readable image" in found.problems[4]
    assert "No such file" in found.problems[13]
    arrays = np.stack([load(png(i), pooled.views["image"]) for i in found.usable.tolist()])
    assert found.pooled.tobytes() == pooled.pool("image", arrays).tobytes()
    assert found.mean().tobytes() == found.pooled.tobytes()
    embedded = pooled.embed(found.pooled, PAIR)
    np.testing.assert_allclose(found.embeddings(pooled, PAIR), embedded, atol=1e-6)


def test_a_rerun_decodes_nothing_and_a_changed_file_alone_is_embedded_anew(
    pooled, files, tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr(features, "_CHUNK", 4)
    cache, heard = tmp_path / "cache", []
    first = extract(pooled, "image", files, cache=cache, advance=heard.append)
    assert sum(heard) == 14
    assert len(list(cache.glob("*.npz"))) == 4
    loaded = []
    whole = Files.load

    def noted(self, index, *rest):
        loaded.append(index)
        return whole(self, index, *rest)

    monkeypatch.setattr(Files, "load", noted)
    again = extract(pooled, "image", files, cache=cache)
    assert loaded == []
    assert again.pooled.tobytes() == first.pooled.tobytes()
    assert again.problems == first.problems
    # A chunk cut short by a full disk, and a file that changed.
    damaged = sorted(cache.glob("*.npz"))
    damaged[0].write_bytes(damaged[0].read_bytes()[:100])
    (tmp_path / "9.png").write_bytes(png(90))
    mended = extract(pooled, "image", files, cache=cache)
    assert 8 in loaded
    assert len(loaded) in (4, 6, 8)
    moved = (mended.pooled != first.pooled).any(axis=1)
    assert np.flatnonzero(moved).tolist() == [8]  # of the usable ones; the fifth is not


def test_what_could_not_be_read_for_once_is_read_again(
    pooled, files, tmp_path, monkeypatch
) -> None:
    whole = Files.load

    def unwell(self, index, *rest):
        if index == 2:
            raise TimeoutError("the store does not answer")
        return whole(self, index, *rest)

    with monkeypatch.context() as patched:
        patched.setattr(Files, "load", unwell)
        found = extract(pooled, "image", files, cache=tmp_path / "cache")
        assert found.problems[2] == "the store does not answer"
    assert sorted(extract(pooled, "image", files, cache=tmp_path / "cache").problems) == [4, 13]


def test_clips_of_a_video_are_averaged_after_the_head(pooled, tmp_path) -> None:
    for name, seed, copies in (("short", 0, 1), ("long", 1, 3)):
        (tmp_path / f"{name}.mp4").write_bytes(mp4(seed, copies))
    items = [Item(id=n, path=str(tmp_path / f"{n}.mp4")) for n in ("short", "long")]
    view = pooled.views["video"]
    assert isinstance(view, VideoView)
    found = extract(pooled, "video", Files(items), num_clips=3)
    # The short one lasts 0.75 s and a clip half a second.
    assert found.counts.tolist() == [3, 3]
    pair = ("video", "text")
    own = [
        pooled.embed(pooled.pool("video", media_clips.load(mp4(s, c), view, 3)), pair).mean(0)
        for s, c in ((0, 1), (1, 3))
    ]
    want = np.stack([mean / np.linalg.norm(mean) for mean in own])
    np.testing.assert_allclose(found.embeddings(pooled, pair), want, atol=1e-6)
    assert extract(pooled, "video", Files(items), num_clips=1).counts.tolist() == [1, 1]


def test_texts_and_none_at_all(pooled, bundle_path) -> None:
    tokenizer = Tokenizer.load(bundle_path / "tokenizer.model")
    texts = Texts(["a red thing", " \n", "a  red thing"], tokenizer)
    found = extract(pooled, "text", texts)
    assert found.problems == {1: "the text is empty"}
    assert found.pooled[0].tobytes() == found.pooled[1].tobytes()
    empty = extract(pooled, "image", Files([]))
    assert empty.embeddings(pooled, PAIR).shape == (0, pooled.dim)
