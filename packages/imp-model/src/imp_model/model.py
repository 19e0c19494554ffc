"""Model: embedders, the encoder and heads, as named parts that a step can take alone."""

import functools
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Key, Num

from imp_model import sharding
from imp_model.config import EMBEDDER_OF, MODALITIES, ModelConfig
from imp_model.embed_audio import AudioEmbedder
from imp_model.embed_text import TextEmbedder
from imp_model.embed_vision import VisionEmbedder
from imp_model.encoder import Encoder
from imp_model.heads import ContrastiveHead, Temperature, masked_mean
from imp_model.init import Init
from imp_model.layers import Linear
from imp_model.towers import ENCODER, through_towers, tower_of, tower_parts

Pair = tuple[str, str]
_EMBEDDERS = {"vision": VisionEmbedder, "audio": AudioEmbedder, "text": TextEmbedder}


def head_part(source: str, target: str) -> str:
    return f"head/{source}>{target}"


def temperature_part(pair: Pair) -> str:
    return "temperature/" + "-".join(sorted(pair))


def classifier_part(name: str) -> str:
    return f"classifier/{name}"


class Model(nnx.Module):
    """Parts, by name: `encoder` (with several towers `encoder/TOWER`), `embedder/…`,
    `projection/…`, `head/a>b`, `temperature/a-b`, `classifier/NAME`. A Model holding only some
    parts computes whatever those suffice for."""

    def __init__(self, config: ModelConfig, parts: Mapping[str, nnx.Module]) -> None:
        self.config = config
        self.parts = nnx.Dict(dict(parts))

    @classmethod
    def create(
        cls,
        config: ModelConfig,
        *,
        pairs: Sequence[Pair],
        classifiers: Mapping[str, int] | None = None,
        seed: int = 0,
    ) -> "Model":
        """`pairs` of modalities compared by contrast, `classifiers` name -> number of classes.

        Each part draws from its own key, so that adding one leaves the others' values as they are.
        """
        makers = _makers(config, pairs, classifiers or {})

        return cls(config, {name: make(Init.seeded(seed, name)) for name, make in makers.items()})

    @classmethod
    def abstract(
        cls,
        config: ModelConfig,
        *,
        pairs: Sequence[Pair],
        classifiers: Mapping[str, int] | None = None,
    ) -> "Model":
        """The same tree with shapes in place of arrays: nothing is computed or allocated."""
        makers = _makers(config, pairs, classifiers or {})
        parts = jax.eval_shape(lambda: {name: make(Init.zeros()) for name, make in makers.items()})
        return cls(config, parts)

    def subset(self, names: Iterable[str]) -> "Model":
        return Model(self.config, {name: self.parts[name] for name in names})

    def encode(
        self,
        inputs: Mapping[str, Num[Array, "b ..."]],
        *,
        drop: Mapping[str, float] | None = None,
        key: Key[Array, ""] | None = None,
    ) -> tuple[dict[str, Float[Array, "b d"]], dict[str, Array]]:
        """By modality the mean-pooled, projected encoding in float32; and the routers' metrics,
        `modality/name`, of each MoE layer, averaged over the examples.

        Modalities of as many tokens pass the encoder as one batch: larger products, and half the
        program to compile.
        """
        drop = drop or {}
        tokens: dict[str, Array] = {}
        masks: dict[str, Array | None] = {}
        for i, (modality, values) in enumerate(inputs.items()):
            sharding.check_batch(modality, len(values))
            values = sharding.batched(values)
            part = self.parts[f"embedder/{EMBEDDER_OF[modality]}"]
            if modality == "text":
                tokens[modality], masks[modality] = part(values), values != 0
            else:
                ratio = drop.get(modality, 0.0)
                own = jax.random.fold_in(key, i) if ratio and key is not None else None
                tokens[modality] = part(values, drop=ratio, key=own)
                masks[modality] = None
        pooled, metrics = {}, {}
        for number, group in enumerate(self._batches(tokens)):
            own_masks = [masks[m] for m in group]
            joined = sharding.batched(sharding.join([tokens[m] for m in group]))
            mask = None if all(m is None for m in own_masks) else _join(own_masks, tokens, group)
            noise = None
            if key is not None and self.config.draws_noise:
                noise = jax.random.fold_in(key, len(inputs) + number)
            tower = self.parts[tower_of(self.config.towers, group[0])]
            encoded, routers = tower(joined, mask, noise)
            sizes = [len(tokens[m]) for m in group]
            for modality, own in zip(group, sharding.split(encoded, sizes), strict=True):
                mean = masked_mean(own, masks[modality])
                pooled[modality] = self.parts[f"projection/{EMBEDDER_OF[modality]}"](mean)
            for name, value in routers.items():
                # Of groups that mix examples there is no telling whose they are.
                by_modality = sharding.split(value, sizes, 1) if len(group) > 1 else [value]
                for modality, rows in zip(group, by_modality, strict=True):
                    metrics[f"{modality}/{name}"] = rows.mean(1)
        return pooled, metrics

    def _batches(self, tokens: Mapping[str, Array]) -> list[list[str]]:
        """Modalities that may share a batch; never where routing would mix their examples."""
        mixable = self.config.routing_group == "example"
        groups: dict[object, list[str]] = {}
        for modality, x in tokens.items():
            alike = (tower_of(self.config.towers, modality), x.shape[1])
            groups.setdefault(alike if mixable else modality, []).append(modality)
        return list(groups.values())

    def embed(self, modality: str, inputs: Num[Array, "b ..."], pair: Pair) -> Float[Array, "b d"]:
        """Unit vectors in the space that `pair` = (source, target) shares; source is `modality`."""
        assert pair[0] == modality, f"a {modality} has no head {pair}"
        return self.contrast(self.encode({modality: inputs})[0][modality], pair)

    def contrast(self, pooled: Float[Array, "b d"], pair: Pair) -> Float[Array, "b d"]:
        """The pooled encoding of pair's source as a unit vector in the pair's space."""
        return self.parts[head_part(*pair)](pooled)

    def logit_scale(self, pair: Pair) -> Float[Array, ""]:
        return self.parts[temperature_part(pair)]()

    def classify(self, pooled: Float[Array, "b d"], classifier: str) -> Float[Array, "b y"]:
        return self.parts[classifier_part(classifier)](pooled)


def _makers(
    config: ModelConfig, pairs: Sequence[Pair], classifiers: Mapping[str, int]
) -> dict[str, Callable[[Init], nnx.Module]]:
    """Each part's name and what builds it."""
    for modality in {m for pair in pairs for m in pair}:
        if modality not in MODALITIES:
            raise ValueError(f"modality {modality!r} is unknown; one of {', '.join(MODALITIES)}")
    w = config.width

    def linear(d_out: int, axis: str) -> Callable[[Init], nnx.Module]:
        return lambda init: Linear(w, d_out, init, axes=("embed", axis))

    def head(init: Init) -> nnx.Module:
        return ContrastiveHead(w, init)

    makers: dict[str, Callable[[Init], nnx.Module]] = {
        name: functools.partial(Encoder, config.tower) for name in tower_parts(config.towers)
    }
    for name, kind in _EMBEDDERS.items():
        makers[f"embedder/{name}"] = functools.partial(kind, config)
        makers[f"projection/{name}"] = linear(w, "embed_out")
    for a, b in pairs:
        makers |= {head_part(a, b): head, head_part(b, a): head}
        makers[temperature_part((a, b))] = Temperature
    for name, classes in classifiers.items():
        makers[classifier_part(name)] = linear(classes, "classes")
    return makers


def _join(
    masks: Sequence[Array | None], tokens: Mapping[str, Array], group: Sequence[str]
) -> Bool[Array, "b n"]:
    full = [
        jnp.ones(tokens[name].shape[:2], bool) if mask is None else mask
        for name, mask in zip(group, masks, strict=True)
    ]
    return sharding.join(full)


def parts_for(
    modalities: Collection[str],
    *,
    pairs: Sequence[Pair] = (),
    classifier: str | None = None,
    towers: str = "one",
) -> tuple[str, ...]:
    """The names of the parts that a computation over these reads, sorted."""
    names = {ENCODER}
    for modality in modalities:
        names |= {f"embedder/{EMBEDDER_OF[modality]}", f"projection/{EMBEDDER_OF[modality]}"}
    for a, b in pairs:
        names |= {head_part(a, b), head_part(b, a), temperature_part((a, b))}
    if classifier is not None:
        names.add(classifier_part(classifier))
    return through_towers(towers, names, modalities)


def num_parameters(tree: object) -> int:
    return sum(x.size for x in jax.tree.leaves(tree))
