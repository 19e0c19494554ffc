"""Order: a step -> a host's examples. A shuffle of each epoch that keeps no table."""

import dataclasses
import functools

import numpy as np

from imp_data import randomness

_ROUNDS = 8
# Positions shuffled at a time: a batch's alone would spend far longer on calls than on numbers.
_BLOCK = 1 << 12


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
        # What each round draws of the epoch's key alone, once for all walks.
        rounds = np.stack([randomness.mix(keys, number) for number in range(_ROUNDS)])
        values = self._permute(places.astype(np.uint64), keys, rounds)
        outside = np.flatnonzero(values >= self.num_examples)
        while len(outside):
            walked = self._permute(values[outside], keys[outside], rounds[:, outside])
            values[outside] = walked
            outside = outside[walked >= self.num_examples]
        return values.astype(np.int64)

    def _permute(self, values: np.ndarray, keys: np.ndarray, rounds: np.ndarray) -> np.ndarray:
        half = max(1, -(-(self.num_examples - 1).bit_length() // 2))
        bits, mask = np.uint64(half), np.uint64((1 << half) - 1)
        high = keys & ~mask
        left, right = values >> bits, values & mask
        for number in range(_ROUNDS):
            scrambled = randomness.mix(right ^ high, number)
            scrambled ^= rounds[number]
            left, right = right, left ^ (randomness.mix(scrambled, number) & mask)
        return (left << bits) | right


@dataclasses.dataclass(frozen=True, kw_only=True)
class HostOrder:
    """The examples that one host sees at a step: its shards of the global batch's positions.

    Step s of all hosts together is positions s * batch_size and on, cut into `num_shards` equal
    runs: how many hosts there are, and which hold what, changes nothing else. Several hosts may
    hold one shard, and a host's need not be neighbours.
    """

    shuffle: Shuffle
    batch_size: int
    shards: tuple[int, ...] = (0,)
    num_shards: int = 1

    def __post_init__(self) -> None:
        if self.batch_size < 1 or self.num_shards < 1 or self.batch_size % self.num_shards:
            raise ValueError(
                f"batch_size {self.batch_size} must be a multiple of {self.num_shards} shards"
            )
        if not self.shards or not all(0 <= shard < self.num_shards for shard in self.shards):
            raise ValueError(
                f"shards {self.shards} must be one or more within 0 and {self.num_shards - 1}"
            )

    def __call__(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """int64 [b / num_shards * shards] positions and the examples there. Raises ValueError for
        step < 0."""
        if step < 0:
            raise ValueError(f"step {step} must be at least 0")
        steps = max(1, _BLOCK // (self.batch_size // self.num_shards * len(self.shards)))
        positions, examples = _shuffled(self, step // steps * steps, steps)
        return positions[step % steps].copy(), examples[step % steps].copy()


@functools.lru_cache(maxsize=32)
def _shuffled(order: HostOrder, step: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """So many steps' positions and examples, int64 [count, the host's] each."""
    own = order.batch_size // order.num_shards
    rows = (np.array(order.shards)[:, None] * own + np.arange(own)).reshape(-1)
    positions = np.arange(step, step + count)[:, None] * order.batch_size + rows
    return positions, order.shuffle(positions.reshape(-1)).reshape(positions.shape)
