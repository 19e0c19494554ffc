"""Objectives (IMP section 3.2): which modalities a task reads, which parts it trains, its loss."""

import dataclasses
from collections.abc import Mapping
from typing import Literal, Protocol, TypeAlias, runtime_checkable

import jax.numpy as jnp
from jaxtyping import Array, Float

from imp_model.model import Model, Pair, parts_for
from imp_train import losses, ring_nce

# By modality, mean-pooled and projected: float32 [b, d].
Pooled: TypeAlias = Mapping[str, Array]
# What a batch is compared with: int32 [b], or bool [b, y] for labels of which there may be several.
Targets: TypeAlias = Mapping[str, Array]
# What a target says of an example: its label, or a number equal where captions or examples are.
TargetKind: TypeAlias = Literal["labels", "captions", "examples"]
# What a loss returns beside itself: scalars.
Metrics: TypeAlias = dict[str, Array]
LabelsAs: TypeAlias = Literal["index", "multi_hot"]


@runtime_checkable
class Objective(Protocol):
    """One objective a step, never summed unless it says so (IMP section 3.1)."""

    @property
    def name(self) -> str: ...
    @property
    def modalities(self) -> tuple[str, ...]: ...
    @property
    def pairs(self) -> tuple[Pair, ...]:
        """The pairs of modalities that it contrasts."""
        ...

    @property
    def classifier(self) -> str | None: ...
    @property
    def targets(self) -> dict[str, TargetKind]:
        """The names of the `Targets` that it reads, and what they say."""
        ...

    @property
    def labels_as(self) -> LabelsAs: ...
    @property
    def parts(self) -> tuple[str, ...]: ...
    def loss(
        self, model: Model, pooled: Pooled, targets: Targets
    ) -> tuple[Float[Array, ""], Metrics]: ...


# How many labels an example must have, from least to most: any number, at least one, just one.
LabelsNeeded: TypeAlias = Literal["any", "some", "one"]


def labels_needed(objective: Objective) -> LabelsNeeded | None:
    """None where it reads no labels; softmax needs one, and a prompt one to draw."""
    if "labels" not in objective.targets.values():
        return None
    if objective.labels_as == "multi_hot":
        return "any"
    return "some" if objective.classifier is None else "one"


@dataclasses.dataclass(frozen=True, kw_only=True)
class NCE:
    """Noise-contrastive estimation between two modalities over the global batch.

    `texts="label"` makes it label-based NCE (BASIC): the text is the class's name in a prompt
    drawn at random, and examples of one class are no negatives of each other. Of an example's
    several labels one is drawn, anew each time it is seen.
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
    def targets(self) -> dict[str, TargetKind]:
        if self.texts == "label":
            return {"groups": "labels"}
        return {"groups": "captions" if "text" in self.modalities else "examples"}

    @property
    def labels_as(self) -> LabelsAs:
        return "index"

    @property
    def parts(self) -> tuple[str, ...]:
        return parts_for(self.modalities, pairs=self.pairs)

    def loss(
        self, model: Model, pooled: Pooled, targets: Targets
    ) -> tuple[Float[Array, ""], Metrics]:
        a, b = self.source, self.target
        scale = model.logit_scale((a, b))
        heads = model.contrast(pooled[a], (a, b)), model.contrast(pooled[b], (b, a))
        loss, accuracy = ring_nce.contrastive(*heads, scale, targets["groups"])
        return loss, {"accuracy": accuracy, "logit_scale": scale}


@dataclasses.dataclass(frozen=True, kw_only=True)
class SCE:
    """Softmax cross-entropy on the dataset's labels, one an example, by a linear head."""

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
    def targets(self) -> dict[str, TargetKind]:
        return {"labels": "labels"}

    @property
    def labels_as(self) -> LabelsAs:
        return "index"

    @property
    def parts(self) -> tuple[str, ...]:
        return parts_for(self.modalities, classifier=self.classifier)

    def loss(
        self, model: Model, pooled: Pooled, targets: Targets
    ) -> tuple[Float[Array, ""], Metrics]:
        logits = model.classify(pooled[self.modality], self.classifier)
        loss, accuracy = self._compare(logits, targets["labels"])
        return loss, {"accuracy": accuracy}

    def _compare(self, logits: Array, labels: Array) -> tuple[Array, Array]:
        return losses.softmax(logits, labels)


@dataclasses.dataclass(frozen=True, kw_only=True)
class BCE(SCE):
    """Binary cross-entropy on the dataset's labels, of which an example may have any number.

    `accuracy` is the share of the labelled examples whose highest class is one of theirs.
    """

    @property
    def name(self) -> str:
        return "bce"

    @property
    def labels_as(self) -> LabelsAs:
        return "multi_hot"

    def _compare(self, logits: Array, labels: Array) -> tuple[Array, Array]:
        return losses.sigmoid(logits, labels)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sum:
    """Several objectives on one batch, their losses added: what alternating is compared with
    (IMP table 2), and with NCE of one modality against two others, VATT's triplets."""

    terms: tuple[NCE | SCE, ...]

    def __post_init__(self) -> None:
        if len(self.terms) < 2:
            raise ValueError(f"a sum needs two objectives or more, got {len(self.terms)}")
        if len({term.classifier for term in self.terms} - {None}) > 1:
            raise ValueError("the objectives of a sum must share one classifier")
        if len({term.labels_as for term in self.terms if "labels" in term.targets.values()}) > 1:
            raise ValueError("a sum can't read single labels and several of one batch; drop a term")
        texts = {getattr(term, "texts", None) for term in self.terms if "text" in term.modalities}
        if len(texts) > 1:
            raise ValueError("the objectives of a sum must read one kind of text")

    @property
    def name(self) -> str:
        return "+".join(term.name for term in self.terms)

    @property
    def modalities(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(m for term in self.terms for m in term.modalities))

    @property
    def pairs(self) -> tuple[Pair, ...]:
        return tuple(dict.fromkeys(pair for term in self.terms for pair in term.pairs))

    @property
    def classifier(self) -> str | None:
        return next((term.classifier for term in self.terms if term.classifier), None)

    @property
    def targets(self) -> dict[str, TargetKind]:
        return {
            f"{number}-{name}": kind
            for number, term in enumerate(self.terms)
            for name, kind in term.targets.items()
        }

    @property
    def labels_as(self) -> LabelsAs:
        return next((t.labels_as for t in self.terms if "labels" in t.targets.values()), "index")

    @property
    def texts(self) -> str:
        return next((t.texts for t in self.terms if isinstance(t, NCE)), "caption")

    @property
    def prompts(self) -> tuple[str, ...]:
        return next((t.prompts for t in self.terms if isinstance(t, NCE)), ())

    @property
    def parts(self) -> tuple[str, ...]:
        return tuple(sorted({part for term in self.terms for part in term.parts}))

    def loss(
        self, model: Model, pooled: Pooled, targets: Targets
    ) -> tuple[Float[Array, ""], Metrics]:
        total = jnp.float32(0)
        metrics: Metrics = {}
        for number, term in enumerate(self.terms):
            own = {name: targets[f"{number}-{name}"] for name in term.targets}
            loss, found = term.loss(model, pooled, own)
            total += loss
            found |= {"loss": loss}
            metrics |= {f"{number}-{term.name}/{key}": value for key, value in found.items()}
        return total, metrics


def triplet(shared: str = "video", audio: str = "audio", text: str = "text") -> Sum:
    """Video against sound and video against words, from one encoding of each (VATT)."""
    return Sum(terms=(NCE(source=shared, target=audio), NCE(source=shared, target=text)))
