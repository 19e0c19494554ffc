"""Chips: what their makers say they can do."""

import dataclasses


@dataclasses.dataclass(frozen=True, kw_only=True)
class Chip:
    """One device, as JAX counts them; a second's worth, and bytes."""

    kind: str
    """What JAX calls it."""
    peak_flops: float
    """Dense bfloat16."""
    memory: float
    memory_rate: float
    link_rate: float
    """Of all links to the other chips of a slice or a node, one way."""

    @property
    def usable(self) -> float:
        """Bytes that a program may have: of TPU v4's 32 GiB libtpu gives out 30.75."""
        return 0.96 * self.memory


_GIB = 2**30
CHIPS: dict[str, Chip] = {
    "v4": Chip(
        kind="TPU v4", peak_flops=275e12, memory=32 * _GIB, memory_rate=1228e9, link_rate=300e9
    ),
    "v5e": Chip(
        kind="TPU v5 lite", peak_flops=197e12, memory=16 * _GIB, memory_rate=819e9, link_rate=200e9
    ),
    "v5p": Chip(
        kind="TPU v5", peak_flops=459e12, memory=95 * _GIB, memory_rate=2765e9, link_rate=600e9
    ),
    "v6e": Chip(
        kind="TPU v6 lite", peak_flops=918e12, memory=32 * _GIB, memory_rate=1640e9, link_rate=400e9
    ),
    "a100-40gb": Chip(
        kind="NVIDIA A100-SXM4-40GB",
        peak_flops=312e12,
        memory=40e9,
        memory_rate=1555e9,
        link_rate=300e9,
    ),
    "a100": Chip(
        kind="NVIDIA A100-SXM4-80GB",
        peak_flops=312e12,
        memory=80e9,
        memory_rate=2039e9,
        link_rate=300e9,
    ),
    "h100": Chip(
        kind="NVIDIA H100 80GB HBM3",
        peak_flops=989e12,
        memory=80e9,
        memory_rate=3350e9,
        link_rate=450e9,
    ),
    "h200": Chip(
        kind="NVIDIA H200", peak_flops=989e12, memory=141e9, memory_rate=4800e9, link_rate=450e9
    ),
}


def of_kind(kind: str) -> Chip | None:
    """The chip that JAX calls so, if it is known."""
    return next((chip for chip in CHIPS.values() if chip.kind == kind), None)
