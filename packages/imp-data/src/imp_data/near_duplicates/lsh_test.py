import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imp_data.near_duplicates import dct_hash, fingerprints, lsh
from imp_data.near_duplicates.fingerprints import Fingerprints

BITS = st.sets(st.integers(0, dct_hash.NUM_BITS - 1), max_size=5)


def prints(hashes):
    """One item of one row for each hash."""
    rows = np.array(hashes, np.uint64)[:, None]
    return fingerprints.join(
        [Fingerprints.of_item(row[None], row[None], np.zeros((1, 0))) for row in rows]
    )


def roles(chunk, stay):
    return np.full(chunk.num_items, lsh.STAYS if stay else lsh.NEW, np.uint8)


def found(chunks, *, within, references=()):
    pairs = set()
    for band in range(lsh.num_bands(0)):
        buckets = [
            lsh.bucket(c, band, num_columns=0, chunk=i, roles=roles(c, i in references))
            for i, c in enumerate(chunks)
        ]
        for (one, other), rows in lsh.collisions(buckets, within=within, exact=False):
            pairs |= {((one, left), (other, right)) for left, right in rows[:, :2].tolist()}
    return pairs


@given(st.integers(0, 2**dct_hash.NUM_BITS - 1), BITS)
def test_hashes_that_differ_in_five_bits_meet_for_certain(value, flipped):
    other = value ^ sum(1 << bit for bit in flipped)
    assert ((0, 0), (0, 1)) in found([prints([value, other])], within=True)


def test_far_hashes_never_come_out_even_if_a_band_is_equal():
    # Band 0 has bits 0, 6, 12, …: these two share it alone, and differ in all others.
    band = sum(1 << bit for bit in range(0, dct_hash.NUM_BITS, 6))
    assert found([prints([0, (2**dct_hash.NUM_BITS - 1) ^ band])], within=True) == set()


def test_what_is_absent_meets_nothing():
    chunk = prints([7, 7, 7])
    given = np.array([lsh.ABSENT, lsh.STAYS, lsh.NEW], np.uint8)
    bucket = lsh.bucket(chunk, 0, num_columns=0, chunk=0, roles=given)
    pairs = list(lsh.collisions([bucket], within=True, exact=False))
    assert {tuple(row) for _, rows in pairs for row in rows[:, :2].tolist()} == {(1, 2), (2, 1)}


def test_references_meet_the_set_alone():
    chunks = [prints([7]), prints([7]), prints([7]), prints([7])]
    pairs = found(chunks, within=False, references=(2, 3))
    assert {(a, b) for (a, _), (b, _) in pairs} == {
        (0, 2), (2, 0), (0, 3), (3, 0), (1, 2), (2, 1), (1, 3), (3, 1),
    }  # fmt: skip
    pairs = found(chunks, within=True, references=(2, 3))
    assert ((0, 0), (1, 0)) in pairs
    assert not {(a, b) for (a, _), (b, _) in pairs} & {(2, 3), (3, 2)}


def test_blocks_change_no_pair(monkeypatch):
    values = np.random.default_rng(0).integers(0, 4, 60).tolist()
    whole = found([prints(values)], within=True)
    monkeypatch.setattr(lsh, "_BLOCK", 7)
    assert found([prints(values)], within=True) == whole
    assert len(whole) > 1000


@pytest.mark.parametrize("num_parts", [1, 3])
def test_parts_keep_equal_keys_together(num_parts):
    keys = np.random.default_rng(0).integers(0, 50, 500).astype(np.uint64)
    part = lsh.part(keys, num_parts)
    assert set(part.tolist()) == set(range(num_parts))
    assert all(len(set(part[keys == key].tolist())) == 1 for key in np.unique(keys))
