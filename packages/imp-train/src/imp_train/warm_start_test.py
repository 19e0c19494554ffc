"""A run that starts from a bundle: the parts that are alike are its, the others as drawn."""

import dataclasses
import logging

import jax
import numpy as np
import pytest

from imp_model import bundle
from imp_model.bundle import flatten
from imp_train.conftest import MODEL
from imp_train.initial import initial_state
from imp_train.inputs import load_datasets
from imp_train.train import identity, train

LABELS = {"colours": ("blue", "red")}


def test_parts_that_are_alike_are_the_bundles(make, whole, caplog):
    path = whole[0] / "bundle"
    smaller = dataclasses.replace(MODEL, text_positions=8)
    # Another seed, so that what is drawn differs; a shorter text, whose table then has no place.
    drawn = flatten(initial_state(make(seed=5, model=smaller), LABELS).parts)
    with caplog.at_level(logging.WARNING):
        state = initial_state(make(seed=5, model=smaller, init_from=path), LABELS)
    assert [r.getMessage() for r in caplog.records] == [
        f"{path} has other shapes of embedder/text, drawn anew"
    ]
    theirs = flatten(bundle.load(path).model.parts)
    for name, value in flatten(state.parts).items():
        source = drawn if name.startswith("embedder/text") else theirs
        np.testing.assert_array_equal(value, source[name], err_msg=name)
    assert not any(np.asarray(leaf).any() for leaf in jax.tree.leaves(state.moments))


def test_another_encoder_is_refused_and_another_bundle_is_another_run(make, whole, tmp_path):
    path = whole[0] / "bundle"
    wider = dataclasses.replace(MODEL, mlp=32)
    with pytest.raises(ValueError, match=r"mlp 24.* is not the experiment's \(width 16, mlp 32"):
        initial_state(make(model=wider, init_from=path), LABELS)
    with pytest.raises(FileNotFoundError, match="holds no bundle"):
        train(make(init_from=tmp_path), tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()
    datasets = load_datasets(make())
    assert bundle.digest_of(path) in identity(make(init_from=path), datasets)
