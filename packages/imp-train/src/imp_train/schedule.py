"""Schedule: which choice, a task in one of its variants, each step trains."""

from collections.abc import Mapping, Sequence
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

from imp_train.adaptive import Adaptive, Blocks
from imp_train.sampler import Sampler


@runtime_checkable
class Named(Protocol):
    @property
    def name(self) -> str: ...


@runtime_checkable
class Choice(Protocol):
    """What one step trains; `key` names it in full, and the position of its batches."""

    @property
    def task(self) -> Named: ...

    @property
    def variant(self) -> Named: ...

    @property
    def key(self) -> str: ...


C = TypeVar("C", bound=Choice)


class Schedule(Generic[C]):
    """step -> choice; pure but for what an adaptive sampler learned."""

    def __init__(
        self,
        choices: Sequence[C],
        weights: Sequence[float],
        sampler: Sampler | Adaptive,
        *,
        seed: int,
        per_step: int = 1,
    ) -> None:
        """`per_step` choices make a step, each a draw of its own."""
        self.choices = list(choices)
        self.weights = list(weights)
        self._sampler = sampler
        self._seed = seed
        self._per_step = per_step
        self._blocks: Blocks | None = None
        self.restore({})

    def __call__(self, step: int) -> C:
        """Raises IndexError for a step that an adaptive sampler has not come to yet."""
        if self._blocks is not None:
            return self.choices[self._blocks(step)]
        assert isinstance(self._sampler, Sampler)
        return self.choices[self._sampler(self.weights, self._seed, step)]

    def of_step(self, step: int) -> list[C]:
        """One choice, or of a mixed step one for each of its batches."""
        return [self(step * self._per_step + number) for number in range(self._per_step)]

    def soon(self, start: int, stop: int) -> list[C]:
        """The choices of these steps, as far as they are decided."""
        if self._blocks is not None:
            stop = min(stop, self._blocks.decided)
        return [choice for step in range(start, stop) for choice in self.of_step(step)]

    def observe(self, step: int, choice: C, loss: float) -> None:
        """Each step's loss, in order; an adaptive sampler learns from it."""
        if self._blocks is not None:
            self._blocks.observe(step, self.choices.index(choice), loss)

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Goes on from what `saved()` gave; from the start with nothing."""
        if isinstance(self._sampler, Adaptive):
            self._blocks = Blocks(self._sampler, self.weights, self._seed, saved)

    def saved(self) -> dict[str, Any]:
        """What a checkpoint keeps of it."""
        return {} if self._blocks is None else self._blocks.saved()
