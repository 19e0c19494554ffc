import json
import pathlib
import shutil

import pytest

from imp_data.datasets import FORMAT, MANIFEST, Dataset


@pytest.fixture
def copy(greys, tmp_path) -> pathlib.Path:
    shutil.copytree(greys.path, tmp_path / "copy")
    return tmp_path / "copy"


@pytest.mark.parametrize("other", [FORMAT - 1, FORMAT + 1])
def test_another_format_is_refused_in_one_line(copy, other):
    manifest = json.loads((copy / MANIFEST).read_bytes())
    (copy / MANIFEST).write_text(json.dumps(manifest | {"format": other}))
    with pytest.raises(
        ValueError, match=f"has format {other}, this imp-data reads {FORMAT}; rebuild"
    ):
        Dataset.load(copy)


@pytest.mark.parametrize("content", [b"{", b"\xff"])
def test_what_is_no_manifest_is_refused(copy, content):
    (copy / MANIFEST).write_bytes(content)
    with pytest.raises(ValueError, match=r"manifest\.json is not a manifest; rebuild"):
        Dataset.load(copy)


def test_small_splits_stay_in_memory_and_large_ones_do_not(greys, monkeypatch):
    """What a loader reads over and over costs one read; what does not fit costs no memory."""
    from imp_data import datasets

    small = greys.examples("train")
    monkeypatch.setattr(datasets, "_KEPT_BYTES", 100)
    large = greys.examples("train")
    assert list(small) == list(large)
    assert (small._kept, large._kept) == ({}, None)
