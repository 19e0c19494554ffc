"""Task: a dataset, an objective, and the variants (resolution, batch, DropToken) to train it in."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from imp_data.augment import Augment
from imp_data.views import View
from imp_model.config import ModelConfig
from imp_model.drop_token import num_kept
from imp_train.objectives import Objective


@dataclasses.dataclass(frozen=True, kw_only=True)
class Variant:
    """`batch_size` examples seen through `views`, with `drop` = {modality: DropToken ratio}.

    The paper trades these so that every variant costs the same tokens (IMP section 3.4).
    """

    views: tuple[View, ...]
    batch_size: int
    drop: Mapping[str, float] = dataclasses.field(default_factory=dict)
    name: str = "base"

    def __post_init__(self) -> None:
        if self.batch_size < 2:
            raise ValueError(f"batch_size {self.batch_size} must be at least 2")
        modalities = [view.modality for view in self.views]
        if len(set(modalities)) != len(modalities):
            raise ValueError(f"variant {self.name!r} has two views of one modality: {modalities}")
        for modality, ratio in self.drop.items():
            if modality not in modalities or modality == "text":
                raise ValueError(
                    f"variant {self.name!r} drops tokens of {modality!r}, unseen or text"
                )
            num_kept(1, ratio)

    def tokens(self, config: ModelConfig) -> dict[str, int]:
        """Tokens a batch that reach the encoder, by modality."""
        return {
            view.modality: self.batch_size
            * num_kept(
                config.num_tokens(view.modality, view.shape), self.drop.get(view.modality, 0.0)
            )
            for view in self.views
        }


@dataclasses.dataclass(frozen=True, kw_only=True)
class Task:
    """`weight` is the number of training examples unless given; variants are drawn uniformly."""

    name: str
    dataset: Path
    objective: Objective
    variants: tuple[Variant, ...]
    weight: float | None = None
    augment: Augment | None = None
    split: str = "train"

    def __post_init__(self) -> None:
        if not self.variants:
            raise ValueError(f"task {self.name!r} has no variant")
        if self.weight is not None and self.weight <= 0:
            raise ValueError(f"task {self.name!r} has weight {self.weight}; it must be above 0")
        for variant in self.variants:
            seen = {view.modality for view in variant.views}
            if seen != set(self.objective.modalities):
                raise ValueError(
                    f"task {self.name!r}: variant {variant.name!r} views {sorted(seen)}, "
                    f"its objective reads {sorted(self.objective.modalities)}"
                )
