"""The contrastive training step, image against text, as `imp_train.train` takes it.

The same programs: a task's gradients, then each part's update, its buffers given away.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from accelerator_suite import timing
from accelerator_suite.shapes import Knobs
from accelerator_suite.suite import PAIR, Suite
from imp_data.batch import Batch
from imp_data.views import ImageView, TextView
from imp_model import sharding
from imp_model.model import Model
from imp_train import optimizer
from imp_train.config import Experiment, OptimizerConfig
from imp_train.objectives import NCE
from imp_train.placement import Placement
from imp_train.sampler import Multinomial
from imp_train.step import make_gradients, parts_of, target_specs, targets_of
from imp_train.tasks import Task, Variant
from imp_train.throughput import step_flops

# So small that a thousand steps on one batch leave the loss as it was, for PyTorch's to be held to.
OPTIMIZER = OptimizerConfig(peak_rate=1e-9)


@dataclasses.dataclass
class State:
    """Parameters and moments of one model, which all of its steps share."""

    parts: dict[str, Any]
    moments: dict[str, Any]


class Step:
    """One program's training step: `name` is "moe" or "dense", whose state it moves on."""

    def __init__(
        self,
        suite: Suite,
        name: str,
        knobs: Knobs,
        *,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        self.name, self.knobs = name, knobs
        self._experiment, self._task, variant = _experiment(suite, name, knobs)
        config = self._experiment.model
        self.flops = step_flops(config, variant)
        self.tokens = sum(variant.tokens(config).values())
        self._placement = Placement(config, devices=jax.devices()[:1])
        self._state = _state(suite, name, self._placement)
        like = dict(Model.abstract(config, pairs=[PAIR]).parts)
        used = parts_of(config, self._task)
        # The knobs are part of a module's structure; the state keeps that of the plain model.
        self._structures = {part: jax.tree.structure(like[part]) for part in used}
        self.batch = Batch(
            inputs={
                "image": suite.images(knobs.batch, knobs.image),
                "text": suite.texts(knobs.batch, suite.shapes.text),
            },
            labels=None,
            index=np.arange(knobs.batch),
        )
        inputs = {
            modality: jax.ShapeDtypeStruct(values.shape, values.dtype)
            for modality, values in self.batch.inputs.items()
        }
        with jax.set_mesh(self._placement.mesh):
            self.program = suite.compiled(
                make_gradients(self._experiment, self._task, variant),
                self._parts(),
                *self._placement.batch_specs(
                    (inputs, target_specs(self._task, variant, self._state.parts))
                ),
                jax.ShapeDtypeStruct((3,), np.uint32),
                options=options,
            )
        self._held = self._on_device()
        self._draw = np.zeros(3, np.uint32)

    def gradients(self) -> Any:
        """Of the held batch."""
        return self.program(self._parts(), *self._held, self._draw)[0]

    def gradients_arm(self) -> timing.Arm:
        return timing.Arm(run=self.gradients)

    def arm(self) -> timing.Arm:
        """The whole step, on a batch that is on the device already."""
        return timing.Arm(run=lambda: self._take(self._held))

    def fed_arm(self) -> timing.Arm:
        """The whole step, its batch brought from the host every time, as the loop does."""
        return timing.Arm(run=lambda: self._take(self._from_host()))

    def loss(self) -> float:
        return float(self.program(self._parts(), *self._held, self._draw)[2]["loss"])

    def warm(self) -> None:
        """Compiles the updates, once a model: for parameters as placed, then as updated."""
        for _ in range(2):
            jax.block_until_ready(self._take(self._held))

    def _take(self, batch: Any) -> Any:
        grads, controls, _ = self.program(self._parts(), *batch, self._draw)
        state, config = self._state, self._experiment.optimizer
        for part, grad in grads.items():
            own = jax.tree.structure(state.parts[part])
            state.parts[part], state.moments[part] = optimizer.update(
                config,
                state.parts[part],
                state.moments[part],
                jax.tree.unflatten(own, jax.tree.leaves(grad)),
                np.float32(config.peak_rate),
                *controls,
            )
        return state.parts

    def _parts(self) -> dict[str, Any]:
        return {
            part: jax.tree.unflatten(structure, jax.tree.leaves(self._state.parts[part]))
            for part, structure in self._structures.items()
        }

    def _from_host(self) -> Any:
        return self.batch.inputs, targets_of(self._task, self.batch)

    def _on_device(self) -> Any:
        return jax.device_put(self._from_host(), sharding.batch_sharding(self._placement.mesh))


def _state(suite: Suite, name: str, placement: Placement) -> State:
    if name not in suite.states:
        # Copies: what is placed is given away by the first update.
        parts = placement.state(dict(suite.model(name).parts))
        with jax.set_mesh(placement.mesh):
            moments = placement.state(optimizer.init(OPTIMIZER, parts))
        suite.states[name] = State(parts=parts, moments=moments)
    return suite.states[name]


def _experiment(suite: Suite, name: str, knobs: Knobs) -> tuple[Experiment, Task, Variant]:
    views = (ImageView(size=knobs.image), TextView(length=suite.shapes.text))
    variant = Variant(views=views, batch_size=knobs.batch)
    task = Task(
        name="captions",
        dataset=Path("nowhere"),
        objective=NCE(source="image", target="text"),
        variants=(variant,),
    )
    experiment = Experiment(
        name=f"accelerator-{name}",
        model=knobs.config(getattr(suite.shapes, name)),
        tasks=(task,),
        steps=1_000_000,
        optimizer=OPTIMIZER,
        sampler=Multinomial(),
        views=views,
        tokenizer=Path("nowhere"),
    )
    return experiment, task, variant
