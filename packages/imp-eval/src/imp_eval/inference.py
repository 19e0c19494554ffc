"""Encoder: a bundle's model as compiled functions of one fixed shape each.

A modality's embedder and encoder are compiled once, for `batch_size` rows, and so is the small head
of every (source, target) pair; any number of inputs is cut into such batches and the last one is
padded. One shape for everybody is what makes an embedding independent of its company, to the bit.
"""

import concurrent.futures
import logging
import pathlib
import time
from collections.abc import Callable, Sequence

import jax
import numpy as np

from imp_data.views import View, from_json
from imp_model import bundle as bundles
from imp_model.model import head_part, parts_for

Pair = tuple[str, str]
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

    def __init__(self, bundle: bundles.Bundle, *, batch_size: int = 32) -> None:
        """Raises ValueError for a bundle that can't be served, saying why."""
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
        self._model = bundle.model
        self._scale = {pair: float(bundle.model.logit_scale(pair)) for pair in self.pairs}
        self._functions: dict[str | Pair, Callable[..., jax.Array]] = {}

    def targets(self, source: str) -> tuple[str, ...]:
        """The modalities that `source` can be compared with."""
        return tuple(b for a, b in self.pairs if a == source)

    def logit_scale(self, pair: Pair) -> float:
        """What training multiplies a cosine of the pair with, before the softmax."""
        return self._scale[pair]

    def compile(self, *, threads: int = 2) -> None:
        """Compiles everything ahead of time; `embed` compiles what it lacks otherwise."""
        self._compile([*sorted({a for a, _ in self.pairs}), *self.pairs], threads)

    def embed(self, modality: str, arrays: np.ndarray, pair: Pair) -> np.ndarray:
        """[n, *view.shape] of the view's dtype, n >= 0 -> float32 [n, k] of length 1 each.

        Raises ValueError for a pair that the model lacks, and for arrays of another shape.
        """
        if pair not in self._scale or pair[0] != modality:
            raise ValueError(
                f"no embedding of {modality} for the pair {pair}; the pairs are {list(self.pairs)}"
            )
        view = self.views[modality]
        if arrays.shape[1:] != view.shape or arrays.dtype != view.dtype:
            raise ValueError(
                f"{modality} arrays {arrays.dtype}{list(arrays.shape)} must be "
                f"{view.dtype}[n, {', '.join(map(str, view.shape))}] (view {view.key})"
            )
        self._compile([modality, pair], 1)
        encode, head, size = self._functions[modality], self._functions[pair], self.batch_size
        out = np.empty((len(arrays), self.dim), np.float32)
        for start in range(0, len(arrays), size):
            chunk = arrays[start : start + size]
            if len(chunk) < size:
                # Padding repeats a real row: an all-zero text would divide by its length.
                chunk = np.concatenate([chunk, np.repeat(chunk[:1], size - len(chunk), axis=0)])
            out[start : start + size] = np.asarray(head(encode(chunk)))[: len(arrays) - start]
        return out

    def _compile(self, keys: Sequence[str | Pair], threads: int) -> None:
        missing = [key for key in keys if key not in self._functions]
        if not missing:
            return
        with concurrent.futures.ThreadPoolExecutor(threads) as pool:
            functions = list(pool.map(self._compiled, missing))
        self._functions |= dict(zip(missing, functions, strict=True))

    def _compiled(self, key: str | Pair) -> Callable[..., jax.Array]:
        if isinstance(key, str):
            view = self.views[key]
            names = set(parts_for([key], towers=self._model.config.towers))
            shape = jax.ShapeDtypeStruct((self.batch_size, *view.shape), view.dtype)
        else:
            names = {head_part(*key)}
            shape = jax.ShapeDtypeStruct((self.batch_size, self.dim), np.float32)
        # Leaves instead of the module: flattening it would cost milliseconds a call.
        leaves, tree = jax.tree.flatten(self._model.subset(sorted(names)))
        leaves = [jax.device_put(leaf) for leaf in leaves]

        def function(leaves: list[jax.Array], inputs: jax.Array) -> jax.Array:
            model = jax.tree.unflatten(tree, leaves)
            if isinstance(key, str):
                return model.encode({key: inputs})[0][key]
            return model.parts[head_part(*key)](inputs)

        start = time.monotonic()
        compiled = jax.jit(function).lower(leaves, shape).compile()
        logger.info("compiled %s in %.1f s", key, time.monotonic() - start)
        return lambda inputs: compiled(leaves, inputs)
