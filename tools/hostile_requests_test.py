"""Hostile requests in the suite: a few hundred; the benchmark sends ten thousand."""

from benchmarks.hostile import Source
from benchmarks.requests import HostileRequests


def test_a_seed_is_its_requests() -> None:
    one, same, other = (Source(seed, 96).take(120) for seed in (1, 1, 2))
    assert one == same
    assert one != other
    assert len({request.kind for request in one}) == 11


def test_hostile_requests_are_answered_rightly() -> None:
    outcome = HostileRequests(requests=360, seed=1).outcome()
    assert outcome.wrong == []
    assert sum(sum(counts.values()) for counts in outcome.codes.values()) == 360
    assert outcome.neighbours > 20
    assert outcome.slowest_neighbour < 10
    assert "answered to the bit" in str(outcome)
