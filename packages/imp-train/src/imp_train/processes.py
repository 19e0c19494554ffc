"""Processes: how those of one run find each other, agree, and wait for each other."""

import dataclasses
import os
import sys
import time
from typing import NoReturn

import jax
import numpy as np
from jax.experimental import multihost_utils

_FAREWELL = 5.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Processes:
    """One process alone, or one of several with `--processes.number` or `--processes.cluster`."""

    cluster: bool = False
    """Ask the cluster (SLURM, Open MPI, a TPU pod, GKE) who takes part."""
    coordinator: str | None = None
    """HOST:PORT of the first process, where no cluster says it."""
    number: int = 1
    """Processes of the run, where no cluster says it."""
    index: int = 0
    """Which of them this is; 0 writes what one process writes."""
    lost_after: int = 100
    """Seconds without a sign of a process until the others give up."""

    def __post_init__(self) -> None:
        if self.cluster and (self.coordinator is not None or self.number != 1):
            raise ValueError("processes: a cluster says coordinator and number; name either")
        if not 0 <= self.index < self.number:
            raise ValueError(
                f"processes.index {self.index} must be within 0 and {self.number - 1} "
                "(processes.number - 1)"
            )
        if self.number > 1 and self.coordinator is None:
            raise ValueError(
                f"processes.number {self.number} needs processes.coordinator, the first one's "
                "HOST:PORT"
            )

    def join(self) -> None:
        """Before anything else of JAX: makes every process's devices one another's."""
        # It would swallow a SIGTERM that comes before the loop listens.
        jax.config.update("jax_enable_preemption_service", False)
        if self.cluster:
            jax.distributed.initialize(heartbeat_timeout_seconds=self.lost_after)
        elif self.number > 1:
            jax.distributed.initialize(
                self.coordinator,
                self.number,
                self.index,
                heartbeat_timeout_seconds=self.lost_after,
            )


def is_first() -> bool:
    """Whether this process writes what is written once."""
    return jax.process_index() == 0


def wait_for_all(reason: str) -> None:
    """Until every process has come here."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(reason)


def any_of_them(flag: bool) -> bool:
    """Whether `flag` is set in some process. Every process must ask."""
    if jax.process_count() == 1:
        return flag
    return bool(multihost_utils.process_allgather(np.array(flag)).any())


def are_several() -> bool:
    """Whether this process has joined a run of several."""
    return jax.distributed.is_initialized()


def leave(status: int) -> NoReturn:
    """Ends this process of several: what JAX does at exit would wait for the others, who may wait
    for this one."""
    if is_first():
        # The others are ended with it: those who met the same error have yet to say so.
        time.sleep(_FAREWELL)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
