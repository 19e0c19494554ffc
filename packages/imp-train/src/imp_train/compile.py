"""Steps compiled ahead of time, one for each signature, in the background while others train."""

import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import numpy as np

from imp_train.config import Experiment
from imp_train.inputs import Choice
from imp_train.optimizer import Parts
from imp_train.placement import Placement
from imp_train.state import TrainState
from imp_train.step import make_gradients, parts_of, signature, target_specs


def use_persistent_cache(directory: Path) -> None:
    """A restart compiles nothing: every program is kept, however small or quick."""
    jax.config.update("jax_compilation_cache_dir", str(directory))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    # XLA's own caches put the folder's path into every key: moved, or named another way, the folder
    # would hold nothing of use.
    jax.config.update("jax_persistent_cache_enable_xla_caches", "none")


class CompiledSteps:
    """Lowers on the calling thread, compiles in others; `steps[choice]` waits for its program."""

    def __init__(
        self,
        experiment: Experiment,
        state: TrainState,
        choices: Sequence[Choice],
        placement: Placement,
        workers: int = 1,
    ) -> None:
        self.seconds = 0.0
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="compile")
        self._programs: dict[tuple[Any, ...], Future[Any]] = {}
        self._model = experiment.model
        for choice in choices:
            key = signature(experiment.model, choice.task, choice.variant)
            if key not in self._programs:
                lowered = lower(experiment, state.parts, choice, placement)
                self._programs[key] = self._pool.submit(self._compile, lowered)

    def __getitem__(self, choice: Choice) -> Any:
        return self._programs[signature(self._model, choice.task, choice.variant)].result()

    def __len__(self) -> int:
        return len(self._programs)

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _compile(self, lowered: Any) -> Any:
        start = time.perf_counter()
        program = lowered.compile()
        self.seconds += time.perf_counter() - start
        return program


def lower(
    experiment: Experiment, parts: Parts, choice: Choice, placement: Placement
) -> jax.stages.Lowered:
    """The program of a choice's gradients for `parts`, placed arrays or their shapes."""
    task, variant = choice.task, choice.variant
    inputs = {
        v.modality: jax.ShapeDtypeStruct((variant.batch_size, *v.shape), v.dtype)
        for v in variant.views
    }
    with jax.set_mesh(placement.mesh):
        return make_gradients(experiment, task, variant).lower(
            {name: parts[name] for name in parts_of(experiment.model, task)},
            *placement.batch_specs((inputs, target_specs(task, variant, parts))),
            jax.ShapeDtypeStruct((3,), np.uint32),
        )
