import io
import sys

from imp_data.pipelines import progress


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
