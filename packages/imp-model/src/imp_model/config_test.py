"""Sizes against the paper's parameter counts, capacity, and errors that quote what was written."""

import dataclasses

import jax
import jaxtyping
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imp_model.config import SIZES, ModelConfig, size
from imp_model.model import Model, num_parameters


@pytest.mark.parametrize(("name", "millions"), [("imp-b", 86), ("imp-l", 303), ("imp-moe-l", 1810)])
def test_backbones_have_the_papers_parameters(name, millions):
    model = Model.abstract(size(name), pairs=[])
    assert num_parameters(model.parts["encoder"]) == pytest.approx(millions * 1e6, rel=0.02)
    assert all(isinstance(x, jax.ShapeDtypeStruct) for x in jax.tree.leaves(model.parts))


def test_moe_spends_a_dense_layers_flops_but_for_the_router():
    for dense, moe in (("imp-b", "imp-moe-b"), ("imp-l", "imp-moe-l")):
        for tokens in (16, 256, 1024):
            a, b = size(dense).flops_per_token(tokens), size(moe).flops_per_token(tokens)
            assert a < b < 1.01 * a


def test_flops_of_a_dense_layer_by_counting_its_products():
    config = ModelConfig(width=8, mlp=32, num_heads=2, num_dense_layers=1)
    products = 8 * 24 + 8 * 8 + 2 * 8 * 32  # qkv, out, ffn
    assert config.flops_per_token(10) == 2 * (products + 2 * 10 * 8)


@given(
    tokens=st.integers(1, 4096),
    experts=st.integers(2, 512),
    factor=st.floats(1e-4, 10),
)
def test_capacity_is_never_zero_nor_above_the_tokens(tokens, experts, factor):
    config = dataclasses.replace(SIZES["imp-moe-b"], num_experts=experts, capacity_factor=factor)
    capacity = config.capacity(tokens)
    assert 1 <= capacity <= tokens
    assert capacity >= min(tokens, factor * tokens / experts)
    assert capacity == 1 or capacity - 1 < factor * tokens / experts


@pytest.mark.parametrize(
    ("change", "quoted"),
    [
        ({"router": "tokens"}, "router 'tokens' is unknown; one of experts_choose, tokens_choose"),
        ({"routing_group": "none"}, "'none' is unknown; one of example, batch or a number"),
        ({"routing_group": 0}, "routing_group 0 is unknown"),
        ({"remat": "all"}, "remat 'all' is unknown; one of none, full"),
    ],
)
def test_choices_quote_what_is_there(change, quoted):
    """As a bundle's JSON may hold; beartype, which would speak first, is there in tests alone."""
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        with pytest.raises(ValueError, match=quoted):
            dataclasses.replace(size("imp-b"), **change)
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)


def test_group_sizes():
    config = size("imp-moe-b")
    assert config.group_size(4, 20) == 20
    assert dataclasses.replace(config, routing_group="batch").group_size(4, 20) == 80
    assert dataclasses.replace(config, routing_group=16).group_size(4, 20) == 16
    with pytest.raises(ValueError, match=r"routing_group 48 does not divide the 80 .* 4 x 20; 40"):
        dataclasses.replace(config, routing_group=48).group_size(4, 20)


def test_tokens_choose_gives_each_of_its_choices_room():
    config = dataclasses.replace(
        size("imp-moe-b"), router="tokens_choose", top_k=2, capacity_factor=1.05
    )
    assert config.capacity(256) == 34  # 1.05 * 2 * 256 / 16 = 33.6
    assert config.capacity(1) == 1


def test_tokens_of_the_papers_inputs():
    config = size("imp-b")
    shapes = {
        "image": ((256, 256, 3), 256),
        "video": ((16, 256, 256, 3), 1024),
        "audio": ((1024, 128), 512),
        "text": ((256,), 256),
    }
    for modality, (shape, tokens) in shapes.items():
        assert config.num_tokens(modality, shape) == tokens


@pytest.mark.parametrize(
    ("change", "quoted"),
    [
        ({"width": 770}, "width 770 .* num_heads 12; 768"),
        ({"num_dense_layers": 0}, "at least one layer"),
        ({"num_moe_layers": 2}, "num_experts 1 with 2 MoE"),
        ({"capacity_factor": -0.5}, "capacity_factor -0.5"),
        ({"top_k": 2}, "top_k 2 must lie between 1 and num_experts 1"),
        (
            {"moe_placement": "every_second", "num_moe_layers": 4, "num_experts": 4},
            "num_dense_layers 12 and num_moe_layers 4; 8 each would do",
        ),
    ],
)
def test_errors_quote_the_value(change, quoted):
    with pytest.raises(ValueError, match=quoted):
        dataclasses.replace(size("imp-b"), **change)


def test_inputs_that_do_not_fit_are_quoted():
    config = size("imp-b")
    with pytest.raises(ValueError, match="text length 4097"):
        config.num_tokens("text", (4097,))
    with pytest.raises(ValueError, match=r"image input \(250, 256\) .* \(256, 256\) would"):
        config.num_tokens("image", (250, 256, 3))
    with pytest.raises(ValueError, match=r"video input \(16, 528, 512\) .* \(64, 512, 512\) fits"):
        config.num_tokens("video", (16, 528, 512, 3))
    with pytest.raises(ValueError, match=r"audio input \(1040, 128\) .* \(1024, 128\) fits"):
        config.num_tokens("audio", (1040, 128))
    with pytest.raises(ValueError, match="'imp-xl' is unknown; one of imp-s"):
        size("imp-xl")
