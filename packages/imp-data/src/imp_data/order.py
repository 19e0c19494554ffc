"""Order: the place in training -> the example. A shuffle of each epoch that keeps no table."""

import dataclasses

import numpy as np

from imp_data import randomness

_ROUNDS = 8


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shuffle:
    """Position p is example `self([p])` of epoch p // num_examples: each epoch, each one once.

    A Feistel network over the next power of four; results past the end walk on until they fall
    inside. Memory is a batch's, whatever the dataset's size.
    """

    num_examples: int
    seed: int

    def __post_init__(self) -> None:
        if self.num_examples < 1:
            raise ValueError("nothing to shuffle: the split has no examples")

    def __call__(self, positions: np.ndarray) -> np.ndarray:
        """int64 [b] of at least 0 -> int64 [b] within 0 .. num_examples - 1."""
        epochs, places = np.divmod(positions, self.num_examples)
        keys = randomness.mix(epochs.astype(np.uint64), self.seed)
        values = self._permute(places.astype(np.uint64), keys)
        while (outside := values >= self.num_examples).any():
            values[outside] = self._permute(values[outside], keys[outside])
        return values.astype(np.int64)

    def _permute(self, values: np.ndarray, keys: np.ndarray) -> np.ndarray:
        half = max(1, -(-(self.num_examples - 1).bit_length() // 2))
        bits, mask = np.uint64(half), np.uint64((1 << half) - 1)
        left, right = values >> bits, values & mask
        for number in range(_ROUNDS):
            scrambled = randomness.mix(right ^ (keys & ~mask), number) ^ randomness.mix(
                keys, number
            )
            left, right = right, left ^ (randomness.mix(scrambled, number) & mask)
        return (left << bits) | right
