"""Adaptive samplers: what a task's losses do decides how often it comes.

Probabilities hold for a block of steps and come from the losses up to the end of the block before
the last, so that batches can be made ahead across a block's end and every host agrees. What they
remember is plain numbers, which a checkpoint holds.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np

from imp_train.sampler import Multinomial

# One list a name, with a number for each task.
Memory: TypeAlias = dict[str, list[float]]
_LARGEST = float(np.finfo(np.float32).max)


@runtime_checkable
class Adaptive(Protocol):
    @property
    def every(self) -> int:
        """Steps of a block."""
        ...

    def learn(
        self, memory: Memory, base: np.ndarray, used: np.ndarray, losses: Sequence[Sequence[float]]
    ) -> tuple[Memory, np.ndarray]:
        """What to remember after a block, and the probabilities that follow from it.

        `base` and `used` are the weights' probabilities and those that the block had; `losses` are
        each task's in the block, in order.
        """
        ...


def _check(every: int, floor: float) -> None:
    if every < 1:
        raise ValueError(f"every {every} must be at least 1 step; 100 is usual")
    if not 0 < floor <= 1:
        raise ValueError(f"floor {floor} must be above 0 and at most 1; 0.2 is usual")


def _gains(memory: Memory, losses: Sequence[Sequence[float]]) -> tuple[Memory, np.ndarray]:
    """Each task's fall of its mean loss since its block before, of its first block's; NaN where it
    has none before.

    Of the first, as a task that is solved falls from little to less for ever.
    """
    none = [np.nan] * len(losses)
    before = np.array(memory.get("loss", none))
    first = np.array(memory.get("first", none))
    # A float32's, as losses are: what is not is no loss to learn from.
    finite = [[loss for loss in own if abs(loss) <= _LARGEST] for own in losses]
    now = np.array([np.mean(own) if own else np.nan for own in finite])
    # Within -1 and 1: of a loss that explodes no more is learned than that it does.
    first = np.where(np.isnan(first), now, first)
    gains = np.clip((before - now) / np.maximum(np.abs(first), 1e-9), -1, 1)
    return {"loss": np.where(np.isnan(now), before, now).tolist(), "first": first.tolist()}, gains


@dataclasses.dataclass(frozen=True, kw_only=True)
class ByProgress:
    """Tasks whose loss still falls come more often: weight times the smoothed fall.

    `floor` is the share of steps that is drawn by weight alone.
    """

    every: int = 100
    floor: float = 0.2
    smoothing: float = 0.5

    def __post_init__(self) -> None:
        _check(self.every, self.floor)
        if not 0 <= self.smoothing < 1:
            raise ValueError(f"smoothing {self.smoothing} must be at least 0 and below 1")

    def learn(
        self, memory: Memory, base: np.ndarray, used: np.ndarray, losses: Sequence[Sequence[float]]
    ) -> tuple[Memory, np.ndarray]:
        kept, gains = _gains(memory, losses)
        before = np.array(memory.get("progress", [np.nan] * len(losses)))
        new = np.maximum(gains, 0)
        smooth = self.smoothing * before + (1 - self.smoothing) * new
        progress = np.where(np.isnan(gains), before, np.where(np.isnan(before), new, smooth))
        # Of whom nothing is known yet, as much is expected as of the best.
        known = progress[~np.isnan(progress)]
        expected = np.where(np.isnan(progress), known.max() if len(known) else 1.0, progress)
        chosen = base * expected
        chosen = chosen / chosen.sum() if chosen.sum() > 0 else base
        probabilities = self.floor * base + (1 - self.floor) * chosen
        return kept | {"progress": progress.tolist()}, probabilities


@dataclasses.dataclass(frozen=True, kw_only=True)
class ByReward:
    """A bandit (Exp3, Auer et al. 2002): a task's reward is its loss's fall over a block,
    between 0 and 1, and its log-weight grows with `rate` times that.

    `floor` is the share of steps that is drawn evenly.
    """

    every: int = 100
    floor: float = 0.2
    rate: float = 1.0

    def __post_init__(self) -> None:
        _check(self.every, self.floor)
        if self.rate <= 0:
            raise ValueError(f"rate {self.rate} must be above 0")

    def learn(
        self, memory: Memory, base: np.ndarray, used: np.ndarray, losses: Sequence[Sequence[float]]
    ) -> tuple[Memory, np.ndarray]:
        kept, gains = _gains(memory, losses)
        rewards = np.clip(np.nan_to_num(gains), 0, 1)
        turns = np.array([len(own) for own in losses])
        # A task that comes rarely is rewarded the more for each turn: the estimate is unbiased.
        estimates = rewards * turns / max(turns.sum(), 1) / used
        scores = np.array(memory.get("score", [0.0] * len(base))) + self.rate * estimates
        scores -= scores.max()
        chosen = base * np.exp(scores)
        probabilities = self.floor / len(base) + (1 - self.floor) * chosen / chosen.sum()
        return kept | {"score": scores.tolist()}, probabilities


class Blocks:
    """An adaptive sampler at work: step -> index, for the block under way and the one after it."""

    def __init__(
        self,
        sampler: Adaptive,
        weights: Sequence[float],
        seed: int,
        saved: Mapping[str, Any] | None = None,
    ) -> None:
        """Goes on from what `saved()` gave."""
        self._sampler = sampler
        self._seed = seed
        base = np.asarray(weights, np.float64)
        self._base = base / base.sum()
        self._draw = Multinomial()
        saved = saved or {}
        self._block: int = saved.get("block", 0)
        self._probabilities = [
            np.array(p) for p in saved.get("probabilities", [self._base, self._base])
        ]
        self._memory: Memory = saved.get("memory", {})
        self._losses: list[list[float]] = saved.get("losses", [[] for _ in self._base])

    def __call__(self, step: int) -> int:
        """Raises IndexError for a step beyond what is decided."""
        ahead = step // self._sampler.every - self._block
        if not 0 <= ahead < len(self._probabilities):
            raise IndexError(f"step {step} is not decided yet")
        return self._draw(self._probabilities[ahead].tolist(), self._seed, step)

    def observe(self, step: int, index: int, loss: float) -> None:
        """The loss of a step, each once and in order."""
        assert step // self._sampler.every == self._block, f"step {step} is out of turn"
        self._losses[index].append(loss)
        if (step + 1) % self._sampler.every == 0:
            self._memory, coming = self._sampler.learn(
                self._memory, self._base, self._probabilities[0], self._losses
            )
            self._probabilities = [self._probabilities[1], coming]
            self._losses = [[] for _ in self._base]
            self._block += 1

    @property
    def decided(self) -> int:
        """The first step that is not decided yet."""
        return (self._block + len(self._probabilities)) * self._sampler.every

    def saved(self) -> dict[str, Any]:
        """Plain numbers and lists."""
        return {
            "block": self._block,
            "probabilities": [p.tolist() for p in self._probabilities],
            "memory": self._memory,
            "losses": self._losses,
        }
