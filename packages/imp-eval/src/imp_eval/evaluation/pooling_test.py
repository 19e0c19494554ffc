import dataclasses

import numpy as np
import pytest

from imp_eval.evaluation.pooling import PooledEncoder
from imp_eval.inference_test import inputs
from imp_model import bundle


def test_what_is_scored_is_what_is_served(encoder, bundle_path) -> None:
    """To the bit for media, whose shape is one; texts may be served at other lengths."""
    own = PooledEncoder(bundle.load(bundle_path), batch_size=8)
    assert own.pairs == set(encoder.pairs)
    for modality, target in encoder.pairs:
        arrays = inputs(own.views[modality], 11)
        got = own.embed(own.pool(modality, arrays), (modality, target))
        served = encoder.embed(modality, arrays, (modality, target))
        if modality == "text":
            np.testing.assert_allclose(got, served, atol=2e-5)
        else:
            assert got.tobytes() == served.tobytes()


def test_a_bundle_that_compares_nothing_is_pooled(bundle_path) -> None:
    loaded = dataclasses.replace(bundle.load(bundle_path), pairs=())
    own = PooledEncoder(loaded, batch_size=4)
    assert own.pairs == set()
    assert own.pool("image", inputs(own.views["image"], 5)).shape == (5, own.dim)


def test_bundles_that_mix_a_batch_go_one_by_one(bundle_path) -> None:
    loaded = bundle.load(bundle_path)
    config = dataclasses.replace(loaded.config, routing_group="batch")
    with pytest.raises(ValueError, match="use --batch-size 1"):
        PooledEncoder(dataclasses.replace(loaded, config=config), batch_size=2)
    with pytest.raises(ValueError, match="batch size 0"):
        PooledEncoder(loaded, batch_size=0)
