"""The bundle's encoder, apart from its heads: a linear probe needs what comes before them.

Legend as in imp_model: n inputs, d width, k numbers in an embedding.
"""

from collections.abc import Callable

import jax
import numpy as np

from imp_data.views import View, from_json
from imp_model.bundle import Bundle
from imp_model.model import head_part, parts_for

Pair = tuple[str, str]


class PooledEncoder:
    """Each modality's embedder and encoder, and each pair's head, compiled for `batch_size` rows.

    The same functions and the same fixed shape as `imp_eval.inference.Encoder`, so that what is
    scored is what is served. Unlike it, a bundle that compares no modalities will do.
    """

    def __init__(self, bundle: Bundle, *, batch_size: int = 32) -> None:
        """Raises ValueError for a batch size below 1, and one above 1 where the bundle routes
        tokens across the batch."""
        if batch_size < 1:
            raise ValueError(f"batch size {batch_size} must be at least 1")
        if bundle.config.routing_group != "example" and batch_size > 1:
            raise ValueError(
                "this bundle routes tokens across the batch, so that an embedding would depend on "
                "its company; use --batch-size 1"
            )
        self.batch_size = batch_size
        self.digest = bundle.digest
        self.views: dict[str, View] = {m: from_json(v) for m, v in bundle.views.items()}
        both_ways = {p for a, b in bundle.pairs for p in ((a, b), (b, a))}
        self.pairs: frozenset[Pair] = frozenset(both_ways)
        self.dim = bundle.config.width
        self._model = bundle.model
        self._functions: dict[str | Pair, Callable[[np.ndarray], jax.Array]] = {}

    def pool(self, modality: str, arrays: np.ndarray) -> np.ndarray:
        """[n, *view.shape] of the view's dtype -> float32 [n, d]: tokens' mean, projected."""
        view = self.views[modality]
        assert arrays.shape[1:] == view.shape
        assert arrays.dtype == view.dtype
        return self._run(modality, arrays)

    def embed(self, pooled: np.ndarray, pair: Pair) -> np.ndarray:
        """What `pool` gave of the pair's source -> float32 [n, k] of length 1 each."""
        assert pair in self.pairs
        return self._run(pair, pooled)

    def _run(self, key: str | Pair, arrays: np.ndarray) -> np.ndarray:
        if key not in self._functions:
            self._functions[key] = self._compiled(key)
        function, size = self._functions[key], self.batch_size
        out = np.empty((len(arrays), self.dim), np.float32)
        for start in range(0, len(arrays), size):
            chunk = arrays[start : start + size]
            if len(chunk) < size:
                # Padding repeats a real row: an all-zero text would divide by its length.
                chunk = np.concatenate([chunk, np.repeat(chunk[:1], size - len(chunk), axis=0)])
            out[start : start + size] = np.asarray(function(chunk))[: len(arrays) - start]
        return out

    def _compiled(self, key: str | Pair) -> Callable[[np.ndarray], jax.Array]:
        if isinstance(key, str):
            view = self.views[key]
            names = parts_for([key], towers=self._model.config.towers)
            shape = jax.ShapeDtypeStruct((self.batch_size, *view.shape), view.dtype)
        else:
            names = (head_part(*key),)
            shape = jax.ShapeDtypeStruct((self.batch_size, self.dim), np.float32)
        leaves, tree = jax.tree.flatten(self._model.subset(names))
        leaves = [jax.device_put(leaf) for leaf in leaves]

        def function(leaves: list[jax.Array], inputs: jax.Array) -> jax.Array:
            model = jax.tree.unflatten(tree, leaves)
            if isinstance(key, str):
                return model.encode({key: inputs})[0][key]
            return model.parts[head_part(*key)](inputs)

        compiled = jax.jit(function).lower(leaves, shape).compile()
        return lambda inputs: compiled(leaves, inputs)
