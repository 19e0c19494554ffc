import json
import pathlib
import shutil

import pytest

from imp_data.datasets import FORMAT, MANIFEST, Dataset


@pytest.fixture
def copy(greys, tmp_path) -> pathlib.Path:
    shutil.copytree(greys.path, tmp_path / "copy")
    return tmp_path / "copy"


@pytest.mark.parametrize(
    ("other", "advice"),
    [
        (FORMAT - 1, "rebuild it with --overwrite"),
        (None, "rebuild it with --overwrite"),
        (FORMAT + 1, "a newer imp-data wrote it: upgrade"),
    ],
)
def test_another_format_is_refused_in_one_line(copy, other, advice):
    """A newer one may have fields that this version knows nothing of; it is not to be replaced."""
    manifest = json.loads((copy / MANIFEST).read_bytes())
    changed = manifest | {"format": other, "invented_later": {"a": 1}}
    (copy / MANIFEST).write_text(json.dumps(changed))
    with pytest.raises(
        ValueError, match=f"has format {other}, this imp-data reads {FORMAT}; {advice}$"
    ):
        Dataset.load(copy)


@pytest.mark.parametrize("content", [b"{", b"\xff", b"[]", b'{"format": 4, "name": 3}'])
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


@pytest.mark.parametrize("below", ["emoji", "data/emoji"])
def test_a_folder_of_datasets_says_which_to_name(copy, tmp_path, below):
    place = tmp_path / "all" / below
    shutil.copytree(copy, place)
    with pytest.raises(FileNotFoundError, match=f"no dataset at .*; {place} is one: name that"):
        Dataset.load(tmp_path / "all")
