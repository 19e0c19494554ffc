"""Two faults in a short run; `./imp endurance` is the long one."""

import pytest

from endurance.run import Endurance


def test_a_run_that_is_harmed_ends_as_one_that_was_left_alone(tmp_path):
    kinds = ("worker killed", "save damaged")
    text = Endurance(faults=2, steps=120, kinds=kinds).report(tmp_path)
    assert text.startswith("2 faults in 1 runs of 120 steps: all ended as the one")
    for kind in kinds:
        assert f"| {kind} | 1 |" in text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"faults": 0}, "--faults 0 must be at least 1"),
        ({"kinds": ("fire",)}, "--kinds 'fire' is unknown; one of host killed, all killed"),
    ],
)
def test_options_that_make_no_run_are_refused(options, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        Endurance(**options, keep=tmp_path / "kept").run()
    assert not (tmp_path / "kept").exists()
