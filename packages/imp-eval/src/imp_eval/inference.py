"""Encoder: a bundle's model as compiled functions of one fixed shape each.

A modality's embedder and encoder are compiled once, for `batch_size` rows, and so is the small head
of every (source, target) pair; any number of inputs is cut into such batches and the last one is
padded. One shape for everybody is what makes an embedding independent of its company, to the bit.

Texts have several lengths: each goes through the shortest that holds it, by itself and whatever it
came with. Experts keep the capacity that they have at the view's length, so that every length
computes the same function.
"""

import concurrent.futures
import dataclasses
import logging
import pathlib
import time
from collections.abc import Callable, Sequence

import jax
import numpy as np

from imp_data.views import View, from_json
from imp_model import bundle as bundles
from imp_model.config import ModelConfig
from imp_model.model import Model, classifier_part, head_part, parts_for

Pair = tuple[str, str]
# Shorter than the view's, if it isn't that short itself.
TEXT_LENGTHS = (16, 64, 256)
logger = logging.getLogger(__name__)


def use_compilation_cache(folder: pathlib.Path) -> None:
    """Keeps compiled functions in `folder`, so that the next start is quick."""
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    # XLA's own caches put the folder's path into every key: moved, or named another way, the folder
    # would hold nothing of use.
    jax.config.update("jax_persistent_cache_enable_xla_caches", "none")


class Encoder:
    """Embeds arrays. Thread-safe once compiled."""

    def __init__(
        self,
        bundle: bundles.Bundle,
        *,
        batch_size: int = 32,
        text_lengths: Sequence[int] = TEXT_LENGTHS,
    ) -> None:
        """Lengths over the text view's own are left out. Raises ValueError for a bundle that can't
        be served, saying why."""
        if batch_size < 1:
            raise ValueError(f"batch size {batch_size} must be at least 1")
        if bundle.config.routing_group != "example" and batch_size > 1:
            raise ValueError(
                "this bundle routes tokens across the batch, so that an embedding would depend on "
                "its company; use batch size 1"
            )
        self.batch_size = batch_size
        self.digest = bundle.digest
        self.metadata = bundle.metadata
        self.views: dict[str, View] = {m: from_json(v) for m, v in bundle.views.items()}
        both_ways = {p for a, b in bundle.pairs for p in ((a, b), (b, a))}
        self.pairs: tuple[Pair, ...] = tuple(
            sorted((a, b) for a, b in both_ways if a in self.views and b in self.views)
        )
        if not self.pairs:
            raise ValueError(
                "the bundle compares no two modalities that it has views for "
                f"(pairs {list(bundle.pairs)}, views {sorted(self.views)}); "
                "train one with a contrastive task"
            )
        self.dim = bundle.config.width
        self.classifiers = bundle.classifiers
        self._model = bundle.model
        self.text_lengths = self._lengths(text_lengths)
        self._scale = {pair: float(bundle.model.logit_scale(pair)) for pair in self.pairs}
        self._functions: dict[_Key, Callable[..., jax.Array]] = {}

    def targets(self, source: str) -> tuple[str, ...]:
        """The modalities that `source` can be compared with."""
        return tuple(b for a, b in self.pairs if a == source)

    def logit_scale(self, pair: Pair) -> float:
        """What training multiplies a cosine of the pair with, before the softmax."""
        return self._scale[pair]

    def cut(self, modality: str, array: np.ndarray) -> np.ndarray:
        """A text int32 [length] without the padding that its bucket spares it; others as they are.

        The shape of the result is the item's bucket: a function of the item alone.
        """
        if modality != "text":
            return array
        return array[: self._length(int((array != 0).sum()))]

    def compile(self, *, threads: int = 2) -> None:
        """Compiles everything ahead of time; `embed` compiles what it lacks otherwise."""
        keys: list[_Key] = [*self.pairs, *(("", name) for name in self.classifiers)]
        for modality in sorted({a for a, _ in self.pairs}):
            shape = self.views[modality].shape
            shapes = [(n,) for n in self.text_lengths] if modality == "text" else [shape]
            keys += [(modality, shape) for shape in shapes]
        self._compile(keys, threads)

    def embed(self, modality: str, arrays: np.ndarray, pair: Pair) -> np.ndarray:
        """[n, *view.shape] of the view's dtype, n >= 0 -> float32 [n, k] of length 1 each.

        Texts may have been `cut` to a length of the encoder's. Raises ValueError for a pair that
        the model lacks, and for arrays of another shape.
        """
        if pair not in self._scale or pair[0] != modality:
            raise ValueError(
                f"no embedding of {modality} for the pair {pair}; the pairs are {list(self.pairs)}"
            )
        return self._through(modality, arrays, pair, self.dim)

    def classify(self, modality: str, arrays: np.ndarray, classifier: str) -> np.ndarray:
        """The bundle's own classifier: [n, *view.shape] -> logits float32 [n, y].

        Raises ValueError for a classifier that the bundle lacks, and for arrays of another shape.
        """
        if classifier not in self.classifiers:
            known = ", ".join(sorted(self.classifiers)) or "none"
            raise ValueError(f"no classifier {classifier[:80]!r} in this model; it has {known}")
        return self._through(modality, arrays, ("", classifier), len(self.classifiers[classifier]))

    def _through(self, modality: str, arrays: np.ndarray, head: Pair, width: int) -> np.ndarray:
        view = self.views[modality]
        fits = arrays.shape[1:] == view.shape or (
            modality == "text" and arrays.ndim == 2 and arrays.shape[1] in self.text_lengths
        )
        if not fits or arrays.dtype != view.dtype:
            raise ValueError(
                f"{modality} arrays {arrays.dtype}{list(arrays.shape)} must be "
                f"{view.dtype}[n, {', '.join(map(str, view.shape))}] (view {view.key})"
            )
        out = np.empty((len(arrays), width), np.float32)
        for rows, bucket in self._buckets(modality, arrays):
            out[rows] = self._in_batches(modality, bucket, head, width)
        return out

    def _buckets(
        self, modality: str, arrays: np.ndarray
    ) -> list[tuple[slice | np.ndarray, np.ndarray]]:
        """The rows of each bucket, and what they hold."""
        if modality != "text" or len(self.text_lengths) == 1:
            return [(slice(None), arrays)]
        lengths = np.array([self._length(int(n)) for n in (arrays != 0).sum(axis=1)], int)
        found: list[tuple[slice | np.ndarray, np.ndarray]] = []
        for length in np.unique(lengths):
            rows = np.flatnonzero(lengths == length)
            found.append((rows, np.ascontiguousarray(arrays[rows, :length])))
        return found

    def _in_batches(self, modality: str, arrays: np.ndarray, head: Pair, width: int) -> np.ndarray:
        body: _Key = (modality, arrays.shape[1:])
        self._compile([body, head], 1)
        encode, top, size = self._functions[body], self._functions[head], self.batch_size
        out = np.empty((len(arrays), width), np.float32)
        for start in range(0, len(arrays), size):
            chunk = arrays[start : start + size]
            if len(chunk) < size:
                # Padding repeats a real row: an all-zero text would divide by its length.
                chunk = np.concatenate([chunk, np.repeat(chunk[:1], size - len(chunk), axis=0)])
            out[start : start + size] = np.asarray(top(encode(chunk)))[: len(arrays) - start]
        return out

    def _lengths(self, wanted: Sequence[int]) -> tuple[int, ...]:
        if "text" not in self.views:
            return ()
        if wrong := [n for n in wanted if n < 1]:
            raise ValueError(f"text length {wrong[0]} must be at least 1 token")
        (longest,) = self.views["text"].shape
        if self._model.config.routing_group != "example":
            return (longest,)  # groups may not divide another
        return (*sorted({n for n in wanted if n < longest}), longest)

    def _length(self, num_tokens: int) -> int:
        return next(n for n in self.text_lengths if n >= num_tokens)

    def _compile(self, keys: "Sequence[_Key]", threads: int) -> None:
        missing = [key for key in keys if key not in self._functions]
        if not missing:
            return
        with concurrent.futures.ThreadPoolExecutor(threads) as pool:
            functions = list(pool.map(self._compiled, missing))
        self._functions |= dict(zip(missing, functions, strict=True))

    def _compiled(self, key: "_Key") -> Callable[..., jax.Array]:
        source, kind = key
        config = self._model.config
        if isinstance(kind, tuple):
            view = self.views[source]
            names = set(parts_for([source], towers=config.towers))
            shape = jax.ShapeDtypeStruct((self.batch_size, *kind), view.dtype)
            if source == "text":
                config = _as_at(config, kind[0], view.shape[0])
        else:
            names = {head_part(source, kind) if source else classifier_part(kind)}
            shape = jax.ShapeDtypeStruct((self.batch_size, self.dim), np.float32)
        # Leaves instead of the module: flattening it would cost milliseconds a call.
        leaves = [
            jax.device_put(leaf) for leaf in jax.tree.leaves(self._model.subset(sorted(names)))
        ]
        like = Model.abstract(
            config,
            pairs=self.pairs,
            classifiers={name: len(labels) for name, labels in self.classifiers.items()},
        )
        tree = jax.tree.structure(like.subset(sorted(names)))

        def function(leaves: list[jax.Array], inputs: jax.Array) -> jax.Array:
            model = jax.tree.unflatten(tree, leaves)
            if isinstance(kind, tuple):
                return model.encode({source: inputs})[0][source]
            [part] = names
            return model.parts[part](inputs)

        start = time.monotonic()
        compiled = jax.jit(function).lower(leaves, shape).compile()
        logger.info("compiled %s in %.1f s", key, time.monotonic() - start)
        return lambda inputs: compiled(leaves, inputs)


# A modality and its bucket's shape; (source, target); or ("", classifier).
_Key = tuple[str, tuple[int, ...]] | Pair


def _as_at(config: ModelConfig, length: int, view_length: int) -> ModelConfig:
    """The model at `length` tokens with the experts' capacity that it has at `view_length`.

    By a factor that gives this capacity, or the whole length where that is less: then every expert
    may take every token at either length.
    """
    if not config.num_moe_layers or length == view_length:
        return config
    choices = config.top_k if config.router == "tokens_choose" else 1
    slots = min(config.capacity(view_length), length)
    # Half a slot below what would be rounded up.
    factor = (slots - 0.5) * config.num_experts / (choices * length)
    changed = dataclasses.replace(config, capacity_factor=factor)
    assert changed.capacity(length) == slots
    return changed
