"""The AGD loop (IMP, Algorithm 1): sample a task, take one step on it alone, repeat."""

import contextlib
import dataclasses
import json
import logging
import signal
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType

import jax

from imp_data.datasets import Dataset
from imp_data.stores.atomic import sha256_of
from imp_data.stores.lock import sole_writer
from imp_data.views import to_json as view_to_json
from imp_model import bundle
from imp_model.model import Model
from imp_train import optimizer, plots
from imp_train.checkpoint import Checkpoints, check_experiment
from imp_train.compile import CompiledSteps
from imp_train.config import Experiment, to_json
from imp_train.initial import classifiers, initial_state
from imp_train.inputs import Inputs, load_datasets
from imp_train.inspect import add_session
from imp_train.metrics import Metrics
from imp_train.placement import MeshShape, Placement, gathered
from imp_train.processes import any_of_them, is_first, wait_for_all
from imp_train.state import TrainState
from imp_train.step import take_mixed_step, take_step
from imp_train.throughput import Throughput, peak_flops

log = logging.getLogger(__name__)


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
    text = identity(experiment, datasets)
    with contextlib.ExitStack() as stack:
        if is_first():
            stack.enter_context(sole_writer(workdir))
            check_experiment(workdir, text, experiment)
        wait_for_all("the workdir is ours")
        stopped = stack.enter_context(_stop_signals())
        stack.enter_context(jax.set_mesh(placement.mesh))
        fresh = dataclasses.replace(
            fresh, parts=placement.state(fresh.parts), moments=placement.state(fresh.moments)
        )
        try:
            return _train(
                experiment,
                workdir,
                inputs,
                labels,
                fresh,
                placement,
                stopped,
                progress=progress,
                stop_after=stop_after,
                bundle_every=bundle_every,
            )
        except jax.errors.JaxRuntimeError as error:
            if jax.process_count() == 1:
                raise
            raise ConnectionError(
                f"this run's {jax.process_count()} processes no longer work together: "
                f"{str(error).splitlines()[0]}; start all of them again, and they go on from the "
                "last checkpoint"
            ) from error


def identity(experiment: Experiment, datasets: dict[str, Dataset]) -> str:
    """The experiment and the data that it reads: equal text, equal run."""
    data = {name: dataset.plan_digest for name, dataset in datasets.items()}
    if experiment.tokenizer is not None:
        data["tokenizer"] = sha256_of(experiment.tokenizer)
    if experiment.init_from is not None:
        data["init_from"] = bundle.digest_of(experiment.init_from)
    return json.dumps(json.loads(to_json(experiment)) | {"data": data}, indent=1)


def _train(
    experiment: Experiment,
    workdir: Path,
    inputs: Inputs,
    labels: dict[str, tuple[str, ...]],
    fresh: TrainState,
    placement: Placement,
    stopped: Sequence[int],
    *,
    progress: bool,
    stop_after: int | None,
    bundle_every: int,
) -> Summary:
    began = time.perf_counter()
    checkpoints = Checkpoints(workdir / "checkpoints")
    state = checkpoints.restore(fresh)
    start = state.step
    end = min(experiment.steps, stop_after or experiment.steps)
    waited, last = 0.0, None
    if state.step < end:
        inputs.schedule.restore(state.sampler)
        soon = inputs.schedule.soon(state.step, min(end, state.step + 200))
        order = {choice.key: choice for choice in [*soon, *inputs.schedule.choices]}
        steps = CompiledSteps(experiment, state, list(order.values()), placement)
        metrics = Metrics(
            workdir if is_first() else None,
            start=state.step,
            steps=experiment.steps,
            progress=progress,
            throughput=Throughput(
                experiment.model,
                now=time.monotonic(),
                peak=peak_flops(),
                batches=1 if experiment.mixed else experiment.optimizer.accumulate,
            ),
        )
        batches = inputs.batches(state.step, state.positions)

        def settle() -> None:
            for seen in metrics.flush():
                state.skipped += seen.skipped
                inputs.schedule.observe(seen.step, seen.choice, seen.loss)
            state.sampler = inputs.schedule.saved()

        try:
            while state.step < end and not _stops(experiment, state, stopped):
                asked = time.perf_counter()
                choices, own = next(batches)
                # While the step before is at work, its device waits for nothing.
                if last is None or last.is_ready():
                    waited += time.perf_counter() - asked
                tasks, programs = [c.task for c in choices], [steps[c] for c in choices]
                if experiment.mixed:
                    found = take_mixed_step(experiment, programs, state, tasks, own, placement)
                else:
                    found = [take_step(experiment, programs[0], state, tasks[0], own, placement)]
                last = found[-1]["loss"]
                for choice, values in zip(choices, found, strict=True):
                    metrics.add(state.step - 1, choice, values)
                    taken = len(own) // len(choices)
                    state.positions[choice.key] = state.positions.get(choice.key, 0) + taken
                if state.step % experiment.log_every == 0:
                    settle()
                    _check_skipped(experiment, state, tasks[-1].name)
                if state.step % experiment.checkpoint_every == 0:
                    settle()
                    checkpoints.save(state)
                if (
                    bundle_every
                    and state.step % bundle_every == 0
                    and state.step < experiment.steps
                ):
                    path = workdir / "bundles" / f"step-{state.step:08d}"
                    write_bundle(experiment, state, labels, path)
            settle()
            if checkpoints.latest_step != state.step:
                checkpoints.save(state)
        finally:
            batches.close()
            steps.close()
            metrics.close()
        compiled, signatures = steps.seconds, len(steps)
    else:
        compiled, signatures = 0.0, 0
    checkpoints.close()
    finished = state.step >= experiment.steps
    if finished:
        write_bundle(experiment, state, labels, workdir / "bundle")
    seconds = {"total": time.perf_counter() - began, "compile": compiled, "waiting": waited}
    if state.step > start and is_first():
        session = {"start": start, "step": state.step, "signatures": signatures}
        add_session(workdir, session | {"seconds": seconds})
        if finished:
            plots.write(workdir)
    return Summary(finished=finished, step=state.step, seconds=seconds, signatures=signatures)


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


def _stops(experiment: Experiment, state: TrainState, stopped: Sequence[int]) -> bool:
    """Whether a signal has come to some process; several agree at each `log_every` only."""
    if jax.process_count() > 1 and state.step % experiment.log_every:
        return False
    return any_of_them(bool(stopped))


def _check_skipped(experiment: Experiment, state: TrainState, task: str) -> None:
    if state.skipped > experiment.optimizer.max_skipped:
        raise FloatingPointError(
            f"{state.skipped} updates had a non-finite loss or gradient by step {state.step} (last "
            f"task {task!r}); lower the rate {experiment.optimizer.peak_rate} or look at its data"
        )


@contextlib.contextmanager
def _stop_signals() -> Iterator[list[int]]:
    """Collects SIGTERM and SIGINT instead of ending the process; a second one does end it."""
    caught: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        log.warning("%s: saving, then stopping", signal.Signals(number).name)
        caught.append(number)
        signal.signal(number, before[signal.Signals(number)])

    before = {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
