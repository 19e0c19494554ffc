"""Throughput: examples, tokens and FLOPs a second, and MFU, of steps counted as they are taken."""

import jax

from imp_model.config import ModelConfig
from imp_model.costs import forward_flops
from imp_train.chips import of_kind
from imp_train.rates import Rates
from imp_train.tasks import Variant

# Of a reading's rates in the average: the last few readings count.
_NEW = 0.5


def step_flops(config: ModelConfig, variant: Variant) -> float:
    """Of a step's model FLOPs: forward and twice that backward, of embedders, encoder, projections.

    Heads and losses are left out, and so is what rematerialisation computes again: MFU counts what
    the model needs, not what the machine did.
    """
    forward = sum(
        forward_flops(config, v.modality, v.shape, drop=variant.drop.get(v.modality, 0.0))
        for v in variant.views
    )
    return 3.0 * variant.batch_size * forward


class Throughput:
    """Counts what steps did between two readings of a clock."""

    def __init__(
        self, config: ModelConfig, *, now: float, peak: float | None, batches: int = 1
    ) -> None:
        """`peak` is of all devices together: FLOPs a second; a step takes so many `batches`."""
        self._config = config
        self._batches = batches
        self._last = now
        self._peak = peak
        self._done: tuple[float, ...] = (0.0, 0.0, 0.0, 0.0)
        self._rates: tuple[float, ...] | None = None
        self._costs: dict[str, tuple[int, int, float]] = {}

    def add(self, key: str, variant: Variant, *, steps: float = 1.0) -> None:
        """A step, or its share in a mixed one; `key` is what the variant is known by."""
        if key not in self._costs:
            tokens = sum(variant.tokens(self._config).values())
            flops = step_flops(self._config, variant)
            self._costs[key] = (variant.batch_size, tokens, flops)
        examples, tokens, flops = self._costs[key]
        n = self._batches
        new = (steps, n * examples, n * tokens, n * flops)
        self._done = tuple(a + b for a, b in zip(self._done, new, strict=True))

    def read(self, now: float) -> Rates | None:
        """Since the last reading, smoothed; None before anything was done."""
        seconds = now - self._last
        if self._done[0] and seconds > 0:
            new = tuple(count / seconds for count in self._done)
            old = self._rates or new
            self._rates = tuple(a + _NEW * (b - a) for a, b in zip(old, new, strict=True))
            self._last, self._done = now, (0.0, 0.0, 0.0, 0.0)
        if self._rates is None:
            return None
        steps, examples, tokens, flops = self._rates
        mfu = None if self._peak is None else flops / self._peak
        return Rates(steps=steps, examples=examples, tokens=tokens, mfu=mfu)


def peak_flops() -> float | None:
    """Of all devices of the run together, None where one's is not known."""
    chips = [of_kind(device.device_kind) for device in jax.devices()]
    known = [chip.peak_flops for chip in chips if chip is not None]
    return sum(known) if len(known) == len(chips) else None
