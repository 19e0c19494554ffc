import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imp_data.order import HostOrder, Shuffle


@settings(deadline=None)
@given(count=st.integers(1, 3000), seed=st.integers(0, 2**63), epoch=st.integers(0, 10**6))
def test_an_epoch_has_each_example_once(count, seed, epoch):
    order = Shuffle(num_examples=count, seed=seed)
    places = epoch * count + np.arange(count)
    assert (np.sort(order(places)) == np.arange(count)).all()


def test_epochs_and_seeds_differ_and_places_are_even():
    n = 1000
    orders = [Shuffle(num_examples=n, seed=s)(np.arange(3 * n)).reshape(3, n) for s in (0, 1)]
    for a, b in ((orders[0][0], orders[0][1]), (orders[0][0], orders[1][0])):
        assert (a == b).mean() < 0.01
        assert abs(np.corrcoef(a, b)[0, 1]) < 0.1
    firsts = Shuffle(num_examples=8, seed=3)(np.arange(4000) * 8)
    assert np.abs(np.bincount(firsts, minlength=8) - 500).max() < 100


def test_the_order_of_a_seed_is_for_ever():
    """A run that stopped under an earlier version goes on in its own order."""
    small = Shuffle(num_examples=1000, seed=3)(np.arange(998, 1002))
    assert small.tolist() == [452, 719, 62, 908]
    large = Shuffle(num_examples=10**12, seed=2**63 - 1)(np.arange(4))
    assert large.tolist() == [890149378905, 341309458182, 650389829085, 28627836245]


@st.composite
def runs(draw):
    """A data set, a batch, and a run that stops now and then to go on with other hosts."""
    count = draw(
        st.one_of(
            st.integers(1, 12),
            st.sampled_from([1, 2, 31, 37, 251, 257, 1009, 2**12, 2**12 + 1]),
            st.integers(1, 5000),
            st.integers(2**32, 2**50),
        )
    )
    hosts = draw(st.lists(st.sampled_from([1, 2, 3, 4, 6, 8]), min_size=1, max_size=4))
    batch = int(np.lcm.reduce(hosts)) * draw(st.integers(1, 12))
    steps = [draw(st.integers(0, 4)) for _ in hosts]
    first = draw(st.one_of(st.just(0), st.integers(0, 2**62 // (batch + count) // 8)))
    return count, batch, list(zip(hosts, steps)), first


@settings(deadline=None, max_examples=200)
@given(run=runs(), seed=st.integers(0, 2**63 - 1))
def test_any_stops_on_any_hosts_are_one_uninterrupted_run(run, seed):
    count, batch_size, segments, first = run
    shuffle = Shuffle(num_examples=count, seed=seed)
    seen, step = [], first
    for num_hosts, steps in segments:
        orders = [
            HostOrder(shuffle=shuffle, batch_size=batch_size, shards=(host,), num_shards=num_hosts)
            for host in range(num_hosts)
        ]
        for number in range(step, step + steps):
            seen += [order(number)[1] for order in orders]
        step += steps
    whole = shuffle(np.arange(first * batch_size, step * batch_size))
    found = np.concatenate([whole[:0], *seen])
    assert (found == whole).all()
    assert not len(found) or 0 <= found.min() <= found.max() < count
    # Epochs that lie within the run whole, each example once; in what is left, none twice.
    start = min(-(first * batch_size) % count, len(found))
    epochs = (len(found) - start) // count
    inside = found[start : start + epochs * count].reshape(epochs, count if epochs else 0)
    assert (np.sort(inside, axis=1) == np.arange(count if epochs else 0)).all()
    for rest in (found[:start], found[start + epochs * count :]):
        assert len(np.unique(rest)) == len(rest)


def test_a_host_may_hold_shards_that_are_no_neighbours():
    """As the chips of a TPU host lie in a mesh's rows; two hosts may share a shard."""
    shuffle = Shuffle(num_examples=100, seed=3)
    whole = HostOrder(shuffle=shuffle, batch_size=12)(7)[1].reshape(6, 2)
    own = HostOrder(shuffle=shuffle, batch_size=12, shards=(1, 4, 5), num_shards=6)(7)
    assert (own[1] == whole[[1, 4, 5]].reshape(-1)).all()
    assert (own[0] == 84 + np.array([2, 3, 8, 9, 10, 11])).all()


@pytest.mark.parametrize("count", [2**32 + 1, 2**33, 10**12 + 39])
def test_billions_of_examples_are_as_far_apart_as_thousands(count):
    """Of one epoch, places next to each other and all over: no example twice, none out of range."""
    near = np.arange(20_000)
    far = np.unique(np.random.default_rng(0).integers(20_000, count, 20_000))
    found = Shuffle(num_examples=count, seed=5)(np.concatenate([near, far]) + 3 * count)
    assert len(np.unique(found)) == len(found)
    assert 0 <= found.min() < count / 1000
    assert count * 999 / 1000 < found.max() < count
    shares = np.bincount(found * 16 // count, minlength=16) / len(found)
    assert np.abs(shares - 1 / 16).max() < 0.01


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_shards": 4}, "multiple of 4 shards"),
        ({"shards": (1,)}, r"shards \(1,\) must be one or more within 0 and 0"),
        ({"batch_size": 0}, "batch_size 0 must be"),
    ],
)
def test_wrong_hosts_are_said(options, message):
    options = {"shuffle": Shuffle(num_examples=3, seed=0), "batch_size": 6} | options
    with pytest.raises(ValueError, match=message):
        HostOrder(**options)
