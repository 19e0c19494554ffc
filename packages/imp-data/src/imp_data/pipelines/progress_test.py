import io
import sys

import pytest

from imp_data.pipelines import progress
from imp_data.pipelines.build import build_dataset
from imp_data.views import ImageView


class Terminal(io.StringIO):
    def isatty(self):
        return True


def shown(monkeypatch, stream, files, made):
    monkeypatch.setattr(sys, "stderr", stream)
    with progress.watch_files(files, title="photos: fingerprints", shown=True):
        for path in made:
            path.touch()
    return stream.getvalue()


def test_a_bar_counts_the_examples_of_the_files_that_are_there(tmp_path, monkeypatch):
    files = {tmp_path / name: number for name, number in (("a", 3), ("b", 40), ("c", 500))}
    written = shown(monkeypatch, Terminal(), files, [tmp_path / "a", tmp_path / "c"])
    assert "photos: fingerprints" in written
    assert "503/543" in written


def test_nothing_is_shown_where_nobody_looks(tmp_path, monkeypatch):
    assert shown(monkeypatch, io.StringIO(), {tmp_path / "a": 1}, [tmp_path / "a"]) == ""


@pytest.fixture
def photos(tmp_path):
    from PIL import Image

    folder = tmp_path / "photos" / "train" / "grey"
    folder.mkdir(parents=True)
    for level in range(7):
        Image.new("RGB", (9, 9), (level * 30,) * 3).save(folder / f"{level}.png")
    (folder / "2.png").write_bytes(b"no picture")
    return tmp_path / "photos"


def test_a_build_shows_its_examples_shards_and_rejects(tmp_path, monkeypatch, photos):
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    build_dataset(
        source=f"folder:{photos}",
        out=tmp_path / "data",
        views=[ImageView(size=8)],
        shard_examples=2,
        max_reject_share=0.5,
    )
    last = stream.getvalue().rsplit("\r", 1)[-1]
    assert "7/7" in last
    assert "shards=4, rejects=1" in last
