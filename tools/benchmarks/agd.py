"""What alternating between many task structures costs beside repeating one, and what a step costs
the host."""

import collections
import dataclasses
import functools
import itertools
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np

from benchmarks import arms, programs, restart
from imp_data.batch import Batch
from imp_data.views import ImageView
from imp_model.config import ModelConfig
from imp_train.compile import CompiledSteps
from imp_train.config import Experiment, OptimizerConfig
from imp_train.initial import initial_state
from imp_train.inputs import Choice
from imp_train.objectives import SCE
from imp_train.placement import Placement
from imp_train.sampler import Permutation
from imp_train.step import take_step
from imp_train.tasks import Task, Variant

_CLASSES = 10
_COMPILED = "/jax/core/compile/backend_compile_duration"


@dataclasses.dataclass(frozen=True, kw_only=True)
class AGD:
    """Steps of twenty task structures by turns beside steps of one of them, on one state; the
    host's own time of a step; and a run that starts again from its compiled programs."""

    structures: int = 20
    """Of equal cost: each classifies by a head of its own, and so is a program of its own."""
    width: int = 192
    layers: int = 4
    batch: int = 8
    deep_layers: int = 24
    """Of the model, else tiny, whose steps show the host's time."""
    rounds: int = 7
    data: Path = Path("quickstart/data")
    """The quickstart's datasets, for the restart; left out where they are not there."""

    def run(self) -> None:
        compiled = Compilations()
        steps = Steps(self.structures, _model(self.width, self.layers), batch=self.batch)
        compiled.clear()
        one, many = (functools.partial(steps.take, k, self.structures) for k in (1, None))
        costs = programs.in_turns({"one": one, "many": many}, rounds=self.rounds, seconds=1.0)
        ratio = arms.ratio(costs["many"], costs["one"])
        each = arms.median_cpu(costs["one"]) / self.structures
        print(f"width {self.width}, {self.layers} layers, {self.batch} images of 256 tokens")
        print(f"a step of one structure: {each:.3f} CPU s")
        print(f"{self.structures} structures by turns to one: {ratio:.3f} by CPU s")
        print(f"programs compiled in these steps: {compiled.count}")
        deep = Steps(2, _model(16, self.deep_layers), batch=2, size=16)
        print(
            f"the host's time of a step, {self.deep_layers} layers scanned: "
            f"{1e3 * _host_seconds(deep):.2f} ms of CPU"
        )
        if self.data.is_dir():
            restart.compare(self.data, rounds=3)
        else:
            print(f"no restart measured: no datasets at {self.data}; ./imp quickstart makes them")


class Compilations:
    """Programs compiled since `clear`."""

    def __init__(self) -> None:
        self._events: collections.Counter[str] = collections.Counter()
        jax.monitoring.register_event_duration_secs_listener(self._note)

    def _note(self, event: str, duration_secs: float, **_: str | int) -> None:
        self._events[event] += 1

    def clear(self) -> None:
        self._events.clear()

    @property
    def count(self) -> int:
        return self._events[_COMPILED]


class Steps:
    """Classification tasks on one state, their programs compiled and each run once."""

    def __init__(self, number: int, model: ModelConfig, *, batch: int, size: int = 256) -> None:
        view = ImageView(size=size)
        tasks = tuple(
            Task(
                name=f"task-{k}",
                dataset=Path("nowhere"),
                objective=SCE(modality="image", classifier=f"classes-{k}"),
                variants=(Variant(views=(view,), batch_size=batch),),
            )
            for k in range(number)
        )
        self._experiment = Experiment(
            name="agd",
            model=model,
            tasks=tasks,
            steps=1_000_000,
            optimizer=OptimizerConfig(),
            sampler=Permutation(),
            views=(view,),
        )
        self.placement = Placement(model)
        labels = tuple(map(str, range(_CLASSES)))
        self.state = initial_state(
            self._experiment, {f"classes-{k}": labels for k in range(number)}
        )
        self.state = dataclasses.replace(
            self.state,
            parts=self.placement.state(self.state.parts),
            moments=self.placement.state(self.state.moments),
        )
        choices = [Choice(task, task.variants[0]) for task in tasks]
        steps = CompiledSteps(self._experiment, self.state, choices, self.placement)
        self.programs = [(steps[choice], choice.task) for choice in choices]
        rng = np.random.default_rng(0)
        self.batch = Batch(
            inputs={"image": rng.integers(0, 256, (batch, *view.shape), view.dtype)},
            labels=rng.integers(0, _CLASSES, batch).astype(np.int32),
            index=np.arange(batch),
        )
        self.take(None, number)

    def take(self, structures: int | None, steps: int) -> Any:
        """So many steps over the first `structures` tasks by turns, None for all; what to wait
        for."""
        for program, task in itertools.islice(itertools.cycle(self.programs[:structures]), steps):
            metrics = self.take_one(program, task)
        return metrics

    def take_one(self, program: Any, task: Task) -> dict[str, Any]:
        with jax.set_mesh(self.placement.mesh):
            return take_step(
                self._experiment, program, self.state, task, [self.batch], self.placement
            )


def _host_seconds(steps: Steps, *, count: int = 100) -> float:
    """CPU seconds of the thread that takes the steps, of one step; the median of nine turns."""
    found = []
    for _ in range(9):
        jax.block_until_ready(steps.take(None, 2))
        began = time.thread_time()
        metrics = steps.take(None, count)
        found.append((time.thread_time() - began) / count)
        jax.block_until_ready(metrics)
    return float(np.median(found))


def _model(width: int, layers: int) -> ModelConfig:
    return ModelConfig(
        width=width,
        mlp=4 * width,
        num_heads=max(1, width // 64),
        num_dense_layers=layers - layers // 2,
        num_moe_layers=layers // 2,
        num_experts=4,
        vocab_size=320,
        text_positions=16,
        dtype="float32",
    )
