"""Samplers: which task and variant a step trains, as a pure function of (seed, step).

Every host agrees without talking, and a resumed run goes on with the same sequence (Algorithm 1).
"""

import dataclasses
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np


@runtime_checkable
class Sampler(Protocol):
    def __call__(self, weights: Sequence[float], seed: int, step: int) -> int:
        """The index drawn at `step`; `weights` need not sum to one."""
        ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class Multinomial:
    """One trial from probabilities in proportion to weight ** (1 / temperature): the paper's."""

    temperature: float = 1.0

    def __call__(self, weights: Sequence[float], seed: int, step: int) -> int:
        p = np.asarray(weights, np.float64) ** (1 / self.temperature)
        return int(_stream(seed, step).choice(len(p), p=p / p.sum()))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stratified:
    """The same proportions with far less variance: draws without replacement from a deck.

    A deck of `deck` steps holds each task as often as its weight says, to rounding (largest
    remainders drawn at random), in an order shuffled anew for each deck.
    """

    deck: int = 64

    def __call__(self, weights: Sequence[float], seed: int, step: int) -> int:
        rng = _stream(seed, step // self.deck)
        shares = np.asarray(weights, np.float64)
        shares = shares / shares.sum() * self.deck
        counts = np.floor(shares).astype(int)
        # Systematic sampling of the remainders: an expected count is exactly its share.
        edges = np.cumsum(shares - counts) + rng.random()
        counts += np.diff(
            np.floor(np.concatenate([[edges[0] - (shares - counts)[0]], edges]))
        ).astype(int)
        cards = np.repeat(np.arange(len(counts)), counts)
        cards = np.concatenate(
            [cards, np.full(max(0, self.deck - len(cards)), int(shares.argmax()))]
        )
        return int(rng.permutation(cards[: self.deck])[step % self.deck])


@dataclasses.dataclass(frozen=True, kw_only=True)
class Uniform:
    """Every variant of every task alike, whatever its weight."""

    def __call__(self, weights: Sequence[float], seed: int, step: int) -> int:
        return int(_stream(seed, step).integers(len(weights)))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Permutation:
    """Every variant of every task once a round, in an order drawn anew for each round, whatever
    its weight."""

    def __call__(self, weights: Sequence[float], seed: int, step: int) -> int:
        turn, place = divmod(step, len(weights))
        return int(_stream(seed, turn).permutation(len(weights))[place])


@dataclasses.dataclass(frozen=True, kw_only=True)
class Interval:
    """Every task at even intervals, as its weight says; nothing is drawn.

    The j-th turn of a task with share s is due at (j + 1/2) / s, and what is due first comes first.
    """

    def __call__(self, weights: Sequence[float], seed: int, step: int) -> int:
        shares = np.asarray(weights, np.float64)
        shares = shares / shares.sum()
        # Turns due before `near` are fewer than `step`; the next few hold the one sought.
        near = max(0.0, step - len(shares))
        first = np.ceil(near * shares - 0.5).clip(0).astype(int)
        count = step - int(first.sum())
        turns = first[:, None] + np.arange(count + 1)
        due = (turns + 0.5) / shares[:, None]
        return int(np.argsort(due.T, axis=None, kind="stable")[count] % len(shares))


def _stream(seed: int, step: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=[seed, step]))
