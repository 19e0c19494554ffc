"""Rates against counts by hand; FLOPs of a step in proportion to what it shows."""

import dataclasses

import pytest

from imp_model.costs import forward_flops
from imp_train.conftest import IMAGE, MODEL, TEXT
from imp_train.rates import Rates
from imp_train.tasks import Variant
from imp_train.throughput import Throughput, step_flops

PAIR = Variant(views=(IMAGE, TEXT), batch_size=4)


def test_a_steps_flops_are_three_forwards_of_what_is_seen():
    image = forward_flops(MODEL, "image", IMAGE.shape)
    text = forward_flops(MODEL, "text", TEXT.shape)
    assert step_flops(MODEL, PAIR) == 3 * 4 * (image + text)
    dropped = dataclasses.replace(PAIR, drop={"image": 0.5})
    assert step_flops(MODEL, dropped) < step_flops(MODEL, PAIR) - 3 * 4 * 0.4 * image


def test_rates_are_counts_over_seconds_and_smoothed():
    alone = Variant(views=(IMAGE,), batch_size=6)
    flops = 2 * (2 * step_flops(MODEL, PAIR) + step_flops(MODEL, alone))
    throughput = Throughput(MODEL, now=100.0, peak=10 * flops, batches=2)
    assert throughput.read(101.0) is None
    throughput = Throughput(MODEL, now=100.0, peak=10 * flops, batches=2)
    for key, variant in (("a", PAIR), ("b", alone), ("a", PAIR)):
        throughput.add(key, variant)
    first = throughput.read(104.0)
    # Four image tokens and eight of text an example.
    tokens = 2 * (2 * 4 * (4 + 8) + 6 * 4)
    assert (first.steps, first.examples, first.tokens) == (3 / 4, 2 * 14 / 4, tokens / 4)
    assert first.mfu == pytest.approx(1 / 40)
    assert throughput.read(105.0) == first, "nothing was done since: no rate is made up"
    throughput.add("b", alone)
    second = throughput.read(106.0)
    assert second.examples == pytest.approx((first.examples + 12 / 2) / 2)


def test_the_batches_of_a_mixed_step_are_one_step():
    throughput = Throughput(MODEL, now=0.0, peak=None)
    for key in "ab":
        throughput.add(key, PAIR, steps=1 / 2)
    rates = throughput.read(1.0)
    assert (rates.steps, rates.examples) == (1, 8)


def test_in_words():
    rates = Rates(steps=2.0, examples=8_192.0, tokens=16.8e6, mfu=0.413)
    assert str(rates) == "8.19 k examples/s, 16.8 M tokens/s, MFU 41.3%"
    unknown = dataclasses.replace(rates, mfu=None)
    assert str(unknown) == "8.19 k examples/s, 16.8 M tokens/s"
    assert set(unknown.named()) == {"steps", "examples", "tokens"}
