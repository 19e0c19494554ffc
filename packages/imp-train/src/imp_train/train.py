"""Training an experiment: its datasets, model and objectives as a problem for the AGD loop."""

import dataclasses
import functools
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax

from imp_data.batch import Batch
from imp_data.datasets import Dataset
from imp_data.stores.atomic import sha256_of
from imp_data.views import to_json as view_to_json
from imp_model import bundle
from imp_model.model import Model
from imp_train import optimizer, plots
from imp_train.compile import CompiledSteps
from imp_train.config import Experiment, as_recorded, to_json
from imp_train.initial import classifiers, initial_state
from imp_train.inputs import Choice, Inputs, ScheduledBatches, load_datasets
from imp_train.inspect import add_session
from imp_train.loop import descend, owned
from imp_train.placement import MeshShape, Placement, gathered
from imp_train.processes import is_first
from imp_train.state import TrainState
from imp_train.step import take_mixed_step, take_step
from imp_train.throughput import Throughput, peak_flops


@dataclasses.dataclass(frozen=True, kw_only=True)
class Summary:
    """What a call to `train` did; `seconds` by what they were spent on."""

    finished: bool
    step: int
    seconds: dict[str, float]
    signatures: int


def train(
    experiment: Experiment,
    workdir: Path,
    *,
    progress: bool = True,
    stop_after: int | None = None,
    num_workers: int = 0,
    mesh: MeshShape | None = None,
    bundle_every: int = 0,
) -> Summary:
    """Trains until `experiment.steps`, resuming what `workdir` holds; writes `workdir/bundle`.

    On all devices of all processes that have joined, as `mesh` spreads them; another mesh may go on
    where one stopped. `num_workers` processes make the batches, with 0 a thread: the batches are
    the same. Every `bundle_every` steps, if not 0, the model so far is written to
    `workdir/bundles/step-NNNNNNNN`, for `imp-eval watch`. SIGTERM and SIGINT save and return with
    `finished=False`, as does reaching `stop_after` steps; of several processes one signal stops
    all, at the next `log_every`. Raises ValueError for a workdir of another experiment or other
    data, one that another run trains in, a mesh that doesn't fit, or a negative `bundle_every`;
    FloatingPointError once `optimizer.max_skipped` updates were not finite; ConnectionError when
    another process is lost.
    """
    if bundle_every < 0:
        raise ValueError(f"bundle_every {bundle_every} must be at least 0; 0 writes none")
    datasets = load_datasets(experiment)
    placement = Placement(experiment.model, mesh)
    inputs = Inputs(
        experiment,
        datasets,
        num_workers=num_workers,
        shards=placement.shards,
        num_shards=placement.num_shards,
    )
    for choice in inputs.schedule.choices:
        placement.check_batch(choice.key, choice.variant.batch_size)
    labels = classifiers(experiment, datasets)
    # Before anything is written: a bundle to start from may be of no use.
    fresh = initial_state(experiment, labels)
    problem = Pretraining(experiment, inputs, placement, labels, workdir, bundle_every)
    with (
        owned(
            workdir,
            identity(experiment, datasets),
            functools.partial(as_recorded, value=experiment),
        ) as stopped,
        jax.set_mesh(placement.mesh),
    ):
        began = time.perf_counter()
        fresh = dataclasses.replace(
            fresh, parts=placement.state(fresh.parts), moments=placement.state(fresh.moments)
        )
        try:
            descent = descend(
                problem,
                workdir,
                fresh,
                stopped=stopped,
                stop_after=stop_after,
                progress=progress,
            )
            state, finished = descent.state, descent.state.step >= experiment.steps
            if finished:
                write_bundle(experiment, state, labels, workdir / "bundle")
        except jax.errors.JaxRuntimeError as error:
            if jax.process_count() == 1:
                raise
            raise ConnectionError(
                f"this run's {jax.process_count()} processes no longer work together: "
                f"{str(error).splitlines()[0]}; start all of them again, and they go on from the "
                "last checkpoint"
            ) from error
        seconds = {
            "total": time.perf_counter() - began,
            "compile": problem.compile_seconds,
            "waiting": descent.waited,
        }
        signatures = problem.num_programs
        if state.step > descent.start and is_first():
            session = {"start": descent.start, "step": state.step, "signatures": signatures}
            add_session(workdir, session | {"seconds": seconds})
            if finished:
                plots.write(workdir)
    return Summary(finished=finished, step=state.step, seconds=seconds, signatures=signatures)


class Pretraining:
    """An experiment as a `loop.Problem`: one compiled program a task's signature."""

    def __init__(
        self,
        experiment: Experiment,
        inputs: Inputs,
        placement: Placement,
        labels: dict[str, tuple[str, ...]],
        workdir: Path,
        bundle_every: int,
    ) -> None:
        self.steps = experiment.steps
        self.log_every = experiment.log_every
        self.checkpoint_every = experiment.checkpoint_every
        self.max_skipped = experiment.optimizer.max_skipped
        self.peak_rate = experiment.optimizer.peak_rate
        self.schedule = inputs.schedule
        self.throughput: Throughput | None = None
        self.compile_seconds = 0.0
        self.num_programs = 0
        self._experiment = experiment
        self._inputs = inputs
        self._placement = placement
        self._labels = labels
        self._bundles = workdir / "bundles"
        self._bundle_every = bundle_every
        self._programs: CompiledSteps | None = None

    def start(self, state: TrainState, stop: int) -> None:
        """Compiles in the background, what comes first first."""
        soon = self.schedule.soon(state.step, min(stop, state.step + 200))
        order = {choice.key: choice for choice in [*soon, *self.schedule.choices]}
        self._programs = CompiledSteps(
            self._experiment, state, list(order.values()), self._placement
        )
        self.num_programs = len(self._programs)
        self.throughput = Throughput(
            self._experiment.model,
            now=time.monotonic(),
            peak=peak_flops(),
            batches=1 if self._experiment.mixed else self._experiment.optimizer.accumulate,
        )

    def batches(self, state: TrainState) -> ScheduledBatches:
        return self._inputs.batches(state.step, state.positions)

    def step(
        self, state: TrainState, choices: Sequence[Choice], batches: Sequence[Batch]
    ) -> list[dict[str, Any]]:
        assert self._programs is not None, "no start"
        assert self.throughput is not None
        tasks, programs = [c.task for c in choices], [self._programs[c] for c in choices]
        for choice in choices:
            self.throughput.add(choice.key, choice.variant, steps=1 / len(choices))
        if self._experiment.mixed:
            return take_mixed_step(
                self._experiment, programs, state, tasks, batches, self._placement
            )
        return [take_step(self._experiment, programs[0], state, tasks[0], batches, self._placement)]

    def stepped(self, state: TrainState) -> None:
        every, step = self._bundle_every, state.step
        if every and step % every == 0 and step < self.steps:
            write_bundle(self._experiment, state, self._labels, self._bundles / f"step-{step:08d}")

    def close(self) -> None:
        if self._programs is not None:
            self._programs.close()
            self.compile_seconds = self._programs.seconds


def identity(experiment: Experiment, datasets: dict[str, Dataset]) -> str:
    """The experiment and the data that it reads: equal text, equal run."""
    data = {name: dataset.plan_digest for name, dataset in datasets.items()}
    if experiment.tokenizer is not None:
        data["tokenizer"] = sha256_of(experiment.tokenizer)
    if experiment.init_from is not None:
        data["init_from"] = bundle.digest_of(experiment.init_from)
    return json.dumps(json.loads(to_json(experiment)) | {"data": data}, indent=1)


def write_bundle(
    experiment: Experiment, state: TrainState, labels: dict[str, tuple[str, ...]], path: Path
) -> None:
    """What serving needs: the experiment's views, pairs and classifiers with the parameters."""
    parts = gathered(optimizer.averaged(state.parts, state.moments))
    if not is_first():
        return
    bundle.save(
        path,
        Model(experiment.model, parts),
        pairs=experiment.pairs,
        classifiers=labels,
        views={view.modality: view_to_json(view) for view in experiment.views},
        tokenizer=experiment.tokenizer.read_bytes() if experiment.tokenizer else None,
        metadata={"experiment": experiment.name, "step": state.step, "seed": experiment.seed},
    )
