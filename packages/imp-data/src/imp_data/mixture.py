"""Mixture: batches of several loaders in one order, made ahead by a thread or by processes."""

import dataclasses
from collections.abc import Iterable, Mapping

from imp_data.batch import Batch
from imp_data.loader import Batches, Loader, made_ahead


@dataclasses.dataclass(frozen=True)
class Mixture:
    """(a loader's key, a step of it) -> Batch; another process may be given it."""

    loaders: Mapping[str, Loader]

    def __call__(self, job: tuple[str, int]) -> Batch:
        key, step = job
        return self.loaders[key].batch(step)

    def batches(
        self, jobs: Iterable[tuple[str, int]], *, num_workers: int = 0, prefetch: int = 2
    ) -> Batches:
        """One for each job, in their order; `close()` when done. Options as Loader's."""
        return made_ahead(self, jobs, num_workers=num_workers, prefetch=prefetch)
