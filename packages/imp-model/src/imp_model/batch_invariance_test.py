"""In one compiled shape an embedding is bit for bit the same, whatever it is batched with.

Its neighbours, its row, their padding: for every modality, in float32 and bfloat16.
"""

import dataclasses

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imp_model.config import MODALITIES, size
from imp_model.model import Model

ROWS, LENGTH, VOCABULARY = 5, 12, 64


def example(modality, seed):
    """One random input; a text of `seed` has its own length, none at all among them."""
    rng = np.random.default_rng(seed)
    if modality == "text":
        ids = rng.integers(1, VOCABULARY, LENGTH).astype(np.int32)
        ids[rng.integers(0, LENGTH + 1) :] = 0
        return ids
    if modality == "audio":
        return rng.normal(-6, rng.uniform(0, 9), (32, 64)).astype(np.float32)
    shape = (64, 32, 3) if modality == "image" else (8, 32, 32, 3)
    return rng.integers(0, rng.integers(1, 257), shape).astype(np.uint8)


@pytest.fixture(scope="module", params=["float32", "bfloat16"])
def encode(request):
    """All modalities at once: vision and sound, 8 tokens each, share a batch; text has its own."""
    config = dataclasses.replace(size("imp-moe-tiny"), vocab_size=VOCABULARY, dtype=request.param)
    model = Model.create(config, pairs=[], seed=0)
    run = jax.jit(lambda model, inputs: model.encode(inputs)[0])
    return lambda inputs: jax.tree.map(np.asarray, run(model, inputs))


def filled(modality, seed, row, others):
    """The example of `seed` at `row`, among those of the other seeds."""
    seeds = [*others[:row], seed, *others[row:]]
    return np.stack([example(modality, each) for each in seeds])


@settings(max_examples=12, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 1000),
    rows=st.tuples(st.integers(0, ROWS - 1), st.integers(0, ROWS - 1)),
    companies=st.tuples(
        *[st.lists(st.integers(0, 1000), min_size=ROWS - 1, max_size=ROWS - 1)] * 2
    ),
)
def test_an_embedding_is_bit_equal_in_every_company(encode, seed, rows, companies):
    found = [
        encode({modality: filled(modality, seed, row, others) for modality in MODALITIES})
        for row, others in zip(rows, companies, strict=True)
    ]
    for modality in MODALITIES:
        a, b = (found[i][modality][rows[i]] for i in range(2))
        assert np.isfinite(a).all()
        assert a.tobytes() == b.tobytes(), modality
