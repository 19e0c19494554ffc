"""`./imp benchmark store-kills` kills more often."""

import pytest

from benchmarks.store_kills import StoreKills, applied


def test_no_acknowledged_change_is_lost_to_a_kill(tmp_path, capsys) -> None:
    StoreKills(kills=4, seed=1).kill_in(str(tmp_path))
    assert "none lost" in capsys.readouterr().out


def test_a_lost_change_would_be_told(tmp_path, monkeypatch) -> None:
    def forgetful(state, change):
        after = applied(state, change)
        return after | {"-1": 0} if after else after

    monkeypatch.setattr("benchmarks.store_kills.applied", forgetful)
    with pytest.raises(ValueError, match="acknowledged"):
        StoreKills(kills=4, seconds=2.0, seed=2).kill_in(str(tmp_path))
