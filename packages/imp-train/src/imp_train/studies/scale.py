"""Scale: how much a study spends on each of its arms."""

import dataclasses


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scale:
    """How much each arm gets: steps, and examples a batch of 16 tokens each or of other sizes that
    come to the same tokens."""

    steps: int
    batch: int
    model: str
    """Of imp_model.config.SIZES; a study may take it dense, or with other experts."""


SCALES: dict[str, Scale] = {
    # Within twenty minutes a study on two cores, three seeds.
    "tiny": Scale(steps=800, batch=64, model="imp-moe-tiny"),
    # An hour or two.
    "small": Scale(steps=4_000, batch=64, model="imp-moe-tiny"),
    # 25 minutes on one large GPU.
    "gpu": Scale(steps=3_000, batch=512, model="imp-moe-s"),
}
