"""What each released version wrote opens in this one, holds what it held, and goes on.

tools/upgrades/VERSION are the copies; write.py there makes this version's.
"""

import json
from pathlib import Path

import pytest

import imp_data
from imp_train.compile import use_persistent_cache
from upgrades.contents import HERE, contents

COPIES = sorted(path.parent for path in HERE.glob("*/expected.json"))
# Sums of at most 192 float32 products (a patch's) in another order differ by 192 * 2^-24 = 1.1e-5
# of their size; some ten such sums follow each other from a file to its embedding or loss.
ROUNDING = 1e-4


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    use_persistent_cache(tmp_path_factory.mktemp("compiled"))


@pytest.mark.parametrize("copy", COPIES, ids=lambda path: path.name)
def test_what_a_version_wrote_is_read_by_this_one(copy: Path, tmp_path: Path, cache: None) -> None:
    expected = json.loads((copy / "expected.json").read_text())
    found = contents(copy, tmp_path)
    same(found, expected)


def same(found: object, expected: object) -> None:
    """Equal, floats but for rounding; what has been added since is no matter."""
    if isinstance(expected, dict):
        assert isinstance(found, dict)
        for name, value in expected.items():
            same(found[name], value)
    elif isinstance(expected, list):
        assert isinstance(found, list)
        assert len(found) == len(expected)
        for ours, theirs in zip(found, expected):
            same(ours, theirs)
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, rel=ROUNDING, abs=ROUNDING)
    else:
        assert found == expected


def test_this_version_has_a_copy() -> None:
    """A release begins with its copy, so that the next one can be held to it."""
    assert imp_data.__version__ in {path.name for path in COPIES}
