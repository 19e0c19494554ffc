"""Weighted nearest neighbours, as DINO scores frozen features (Caron et al. 2021, section 4.1).

The `k` training examples of the highest cosine vote for their labels, each with
exp(cosine / temperature).

Legend: m training examples, n queries, d numbers in a feature, y classes.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

K, TEMPERATURE = 20, 0.07
_BLOCK = 256


def votes(
    train: np.ndarray,
    labels: np.ndarray,
    queries: np.ndarray,
    *,
    num_classes: int,
    k: int = K,
    temperature: float = TEMPERATURE,
) -> np.ndarray:
    """float [m, d], int [m], float [n, d] -> each class's share of the votes, float32 [n, y].

    With less than `k` training examples all of them vote. Of equally near ones at the end the
    earlier is taken.
    """
    k = min(k, len(train))
    known, classes = jax.device_put(_unit(train)), jax.device_put(labels.astype(np.int32))
    out = np.empty((len(queries), num_classes), np.float32)
    for start in range(0, len(queries), _BLOCK):
        block = _unit(queries[start : start + _BLOCK])
        short = _BLOCK - len(block)
        found = _votes(
            np.pad(block, ((0, short), (0, 0))), known, classes, k, num_classes, temperature
        )
        out[start : start + _BLOCK] = np.asarray(found)[: len(block)]
    return out


def _unit(rows: np.ndarray) -> np.ndarray:
    norm = np.linalg.norm(rows, axis=1, keepdims=True)
    return (rows / np.maximum(norm, 1e-12)).astype(np.float32)


@functools.partial(jax.jit, static_argnames=("k", "num_classes", "temperature"))
def _votes(
    queries: jax.Array,
    train: jax.Array,
    labels: jax.Array,
    k: int,
    num_classes: int,
    temperature: float,
) -> jax.Array:
    nearest, where = jax.lax.top_k(jnp.matmul(queries, train.T, precision="highest"), k)
    # Less the highest: exp of a large cosine over a small temperature would overflow.
    weights = jax.nn.softmax(nearest / temperature, axis=1)
    rows = jnp.arange(len(queries))[:, None]
    return jnp.zeros((len(queries), num_classes)).at[rows, labels[where]].add(weights)
