"""A tiny model of every part, made once."""

import numpy as np
import pytest

from imp_model.config import ModelConfig
from imp_model.model import Model

PAIRS = (("image", "text"), ("video", "audio"))
CLASSIFIERS = {"animals": 3}


@pytest.fixture(scope="session")
def config():
    return ModelConfig(
        width=16,
        mlp=24,
        num_heads=2,
        num_dense_layers=1,
        num_moe_layers=1,
        num_experts=2,
        patch=(4, 8, 8),
        audio_patch=(8, 8),
        vocab_size=50,
        text_positions=16,
        dtype="float32",
    )


@pytest.fixture(scope="session")
def model(config):
    return Model.create(config, pairs=PAIRS, classifiers=CLASSIFIERS, seed=1)


@pytest.fixture(scope="session")
def inputs():
    """Four examples of each modality: 4 tokens, and for text 8 of which some are padding."""
    rng = np.random.default_rng(0)
    text = rng.integers(1, 50, (4, 8)).astype(np.int32)
    for row, length in enumerate((8, 5, 1, 3)):
        text[row, length:] = 0
    return {
        "image": rng.integers(0, 256, (4, 16, 16, 3), np.uint8),
        "video": rng.integers(0, 256, (4, 4, 16, 16, 3), np.uint8),
        "audio": rng.normal(-6, 5, (4, 16, 16)).astype(np.float32),
        "text": text,
    }
