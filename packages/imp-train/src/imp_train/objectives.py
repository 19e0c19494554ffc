"""Objectives (IMP section 3.2): which modalities a task reads, which parts it trains, its loss."""

import dataclasses
from collections.abc import Mapping
from typing import Protocol, TypeAlias, runtime_checkable

from jaxtyping import Array, Float

from imp_model.model import Model, Pair, parts_for
from imp_train import losses

Inputs: TypeAlias = Mapping[str, Array]
# What a loss returns beside itself: scalars, and each modality's router metrics.
Metrics: TypeAlias = dict[str, Array]


@runtime_checkable
class Objective(Protocol):
    """One objective a step, never summed (IMP section 3.1)."""

    @property
    def name(self) -> str: ...
    @property
    def modalities(self) -> tuple[str, ...]: ...
    @property
    def pairs(self) -> tuple[Pair, ...]: ...
    @property
    def classifier(self) -> str | None: ...
    @property
    def labelled(self) -> bool: ...
    @property
    def parts(self) -> tuple[str, ...]: ...
    def loss(
        self,
        model: Model,
        inputs: Inputs,
        groups: Array,
        drop: Mapping[str, float],
        key: Array,
    ) -> tuple[Float[Array, ""], Metrics]:
        """`groups` int32 [b]: the label, or for captions a number equal where they are equal."""
        ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class NCE:
    """Noise-contrastive estimation between two modalities over the global batch.

    `texts="label"` makes it label-based NCE (BASIC): the text is the class's name in a prompt
    drawn at random, and examples of one class are no negatives of each other.
    """

    source: str
    target: str
    texts: str = "caption"
    prompts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.source == self.target:
            raise ValueError(f"NCE needs two modalities, got {self.source!r} twice")
        if self.texts not in ("caption", "label"):
            raise ValueError(f"texts {self.texts!r} must be 'caption' or 'label'")
        if self.texts == "label" and "text" not in (self.source, self.target):
            raise ValueError("label-based NCE needs text as one of its modalities")

    @property
    def name(self) -> str:
        return "label_nce" if self.texts == "label" else "nce"

    @property
    def modalities(self) -> tuple[str, ...]:
        return (self.source, self.target)

    @property
    def pairs(self) -> tuple[Pair, ...]:
        return ((self.source, self.target),)

    @property
    def classifier(self) -> None:
        return None

    @property
    def labelled(self) -> bool:
        return self.texts == "label"

    @property
    def parts(self) -> tuple[str, ...]:
        return parts_for(self.modalities, pairs=self.pairs)

    def loss(
        self,
        model: Model,
        inputs: Inputs,
        groups: Array,
        drop: Mapping[str, float],
        key: Array,
    ) -> tuple[Float[Array, ""], Metrics]:
        ordered = {modality: inputs[modality] for modality in self.modalities}
        pooled, metrics = model.encode(ordered, drop=drop, key=key)
        a, b = self.source, self.target
        same = groups[:, None] == groups[None]
        scale = model.logit_scale((a, b))
        heads = model.contrast(pooled[a], (a, b)), model.contrast(pooled[b], (b, a))
        loss, accuracy = losses.contrastive(*heads, scale, same)
        return loss, metrics | {"accuracy": accuracy, "logit_scale": scale}


@dataclasses.dataclass(frozen=True, kw_only=True)
class SCE:
    """Softmax cross-entropy on the dataset's labels, by a linear head of its own."""

    modality: str
    classifier: str

    @property
    def name(self) -> str:
        return "sce"

    @property
    def modalities(self) -> tuple[str, ...]:
        return (self.modality,)

    @property
    def pairs(self) -> tuple[Pair, ...]:
        return ()

    @property
    def labelled(self) -> bool:
        return True

    @property
    def parts(self) -> tuple[str, ...]:
        return parts_for(self.modalities, classifier=self.classifier)

    def loss(
        self,
        model: Model,
        inputs: Inputs,
        groups: Array,
        drop: Mapping[str, float],
        key: Array,
    ) -> tuple[Float[Array, ""], Metrics]:
        m = self.modality
        pooled, metrics = model.encode({m: inputs[m]}, drop=drop, key=key)
        logits = model.classify(pooled[m], self.classifier)
        loss, accuracy = losses.softmax(logits, groups)
        return loss, metrics | {"accuracy": accuracy}
