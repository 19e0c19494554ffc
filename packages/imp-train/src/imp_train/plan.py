"""Plan: what a step would cost on accelerators that are not here, before anyone pays for them.

For TPUs the run's own programs are compiled by libtpu, whose word on memory and exchanges is what
it would do; for GPUs the same is reckoned by formula.
"""

import dataclasses
import hashlib
import importlib.metadata
import json
import math
import re
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
from jax.sharding import AbstractMesh, AxisType, Mesh

from imp_data.stores.atomic import write_file
from imp_model import sharding
from imp_model.config import ModelConfig
from imp_model.costs import activation_bytes
from imp_model.model import Model
from imp_train import optimizer
from imp_train.compile import lower
from imp_train.config import Experiment
from imp_train.inputs import Choice
from imp_train.optimizer import Parts
from imp_train.placement import MeshShape, Placement, state_specs
from imp_train.step import parts_of, signature
from imp_train.throughput import step_flops
from imp_train.topology import Topology
from imp_train.traffic import traffic


@dataclasses.dataclass(frozen=True, kw_only=True)
class Program:
    """One signature's gradients on one chip: bytes, and what it sends. `failed` is what the
    compiler said where it gave up."""

    shares: tuple[str, ...]
    """The variants of tasks that it serves."""
    flops: float
    own: float
    """Of its arguments, what is resident anyhow: the parameters."""
    arguments: float = 0.0
    outputs: float = 0.0
    temporaries: float = 0.0
    sent: dict[str, tuple[int, float]] = dataclasses.field(default_factory=dict)
    seconds: float = 0.0
    failed: str | None = None

    @property
    def name(self) -> str:
        return self.shares[0]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """`resident` is what lies on a chip throughout: parameters and moments of every part."""

    topology: Topology
    mesh: dict[str, int]
    compiled: bool
    parameters: int
    resident: float
    programs: tuple[Program, ...]

    def peak(self, program: Program) -> float:
        """Bytes on a chip while the program runs: gradients and inputs beside what is resident."""
        beside = program.arguments - program.own
        return self.resident + beside + program.outputs + program.temporaries

    def fits(self, program: Program) -> bool:
        return program.failed is None and self.peak(program) <= self.topology.chip.usable

    def seconds(self, program: Program) -> dict[str, float]:
        """The roofline: none of these can be done faster, and a step takes at least the longest."""
        chip = self.topology.chip
        # The state is read and written by the update; temporaries are written and read.
        moved = 2 * self.resident + 2 * program.outputs + 2 * program.temporaries
        return {
            "compute": program.flops / chip.peak_flops,
            "memory": moved / chip.memory_rate,
            "links": sum(size for _, size in program.sent.values()) / chip.link_rate,
        }


def plan(
    experiment: Experiment,
    topology: Topology,
    shape: MeshShape,
    *,
    classes: int,
    cache: Path,
    say: Callable[[str], None],
    only: Sequence[str] = (),
) -> Plan:
    """Every signature's program, or those that serve `only`, compiled for `topology` or reckoned.

    `classes` is the number of each classifier's labels. What was compiled once is read from
    `cache`. Raises ValueError for a mesh that the topology or the model doesn't fit, and for a name
    in `only` that no variant has.
    """
    config, chips = experiment.model, topology.num_chips
    mesh: Mesh | AbstractMesh
    if topology.torus is None:
        sizes = sharding.mesh_sizes(config, chips, **dataclasses.asdict(shape))
        types = (AxisType.Auto,) * len(sizes)
        mesh, placement = AbstractMesh(sizes, sharding.AXES, axis_types=types), None
    else:
        placement = Placement(config, shape, devices=topology.devices())
        mesh = placement.mesh
    parts, moments = _state(experiment, mesh, classes)
    programs = []
    for choice, shares in _signatures(experiment, only):
        taken = {name: parts[name] for name in parts_of(config, choice.task)}
        own = _on_a_chip(taken)
        if placement is None:
            found = _reckoned(config, choice, taken, mesh)
        else:
            placement.check_batch(choice.key, choice.variant.batch_size)
            say(f"{choice.key}: tracing")
            lowered = lower(experiment, parts, choice, placement)
            found = _kept(cache, topology, lowered.as_text())
            if not found:
                say(f"{choice.key}: compiling for {chips} x {topology.chip.kind}")
                found = _compiled(lowered)
                _keep(cache, topology, lowered.as_text(), found)
        flops = _flops(experiment, choice) / chips
        programs.append(Program(shares=shares, flops=flops, own=own, **found))
    return Plan(
        topology=topology,
        mesh={axis: int(size) for axis, size in mesh.shape.items()},
        compiled=placement is not None,
        parameters=sum(leaf.size for leaf in jax.tree.leaves(parts)),
        resident=_on_a_chip((parts, moments)),
        programs=tuple(programs),
    )


def _signatures(
    experiment: Experiment, only: Sequence[str]
) -> Iterator[tuple[Choice, tuple[str, ...]]]:
    """One choice of each signature, and the keys of all that share it."""
    found: dict[tuple[Any, ...], list[Choice]] = {}
    keys = [Choice(task, v).key for task in experiment.tasks for v in task.variants]
    if unknown := [name for name in only if name not in keys]:
        raise ValueError(f"no variant is named {unknown[0]!r}; there are {', '.join(keys)}")
    for task in experiment.tasks:
        for variant in task.variants:
            key = signature(experiment.model, task, variant)
            found.setdefault(key, []).append(Choice(task, variant))
    for choices in found.values():
        if only and not any(choice.key in only for choice in choices):
            continue
        yield choices[0], tuple(choice.key for choice in choices)


def _state(
    experiment: Experiment, mesh: Mesh | AbstractMesh, classes: int
) -> tuple[Parts, optimizer.Moments]:
    """Shapes of parameters and moments, with their places."""
    named = {task.objective.classifier for task in experiment.tasks} - {None}
    model = Model.abstract(
        experiment.model,
        pairs=experiment.pairs,
        classifiers=dict.fromkeys(sorted(filter(None, named)), classes),
    )
    parts = dict(model.parts)
    moments = jax.eval_shape(lambda parts: optimizer.init(experiment.optimizer, parts), parts)
    return state_specs(mesh, parts), state_specs(mesh, moments)


def _on_a_chip(tree: Any) -> float:
    return float(
        sum(
            math.prod(leaf.sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize
            for leaf in jax.tree.leaves(tree)
        )
    )


def _flops(experiment: Experiment, choice: Choice) -> float:
    """Of a whole step, what rematerialisation computes again included where it is everything."""
    again = 4 / 3 if experiment.model.remat == "full" else 1.0
    return again * step_flops(experiment.model, choice.variant)


def _kept(cache: Path, topology: Topology, program: str) -> dict[str, Any]:
    path = _place(cache, topology, program)
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return found


def _keep(cache: Path, topology: Topology, program: str, found: dict[str, Any]) -> None:
    cache.mkdir(parents=True, exist_ok=True)
    write_file(_place(cache, topology, program), json.dumps(found).encode())


def _place(cache: Path, topology: Topology, program: str) -> Path:
    compiler = importlib.metadata.version("libtpu")
    text = "\n".join([topology.name, jax.__version__, compiler, program])
    return cache / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.json"


def _compiled(lowered: jax.stages.Lowered) -> dict[str, Any]:
    """A program's bytes on a chip and its traffic, as the compiler tells them."""
    began = time.perf_counter()
    try:
        program = lowered.compile()
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        used = re.search(r"Used (\S+) of (\S+) hbm", str(error))
        return {"failed": f"needs {used[1]} of {used[2]}" if used else "runs out of memory"}
    memory = program.memory_analysis()
    assert memory is not None
    sent = traffic(program.as_text() or "")
    return {
        "arguments": memory.argument_size_in_bytes,
        "outputs": memory.output_size_in_bytes,
        "temporaries": memory.temp_size_in_bytes + memory.generated_code_size_in_bytes,
        "sent": {kind: (own.count, own.bytes) for kind, own in sent.items()},
        "seconds": time.perf_counter() - began,
    }


def _reckoned(
    config: ModelConfig, choice: Choice, taken: Parts, mesh: Mesh | AbstractMesh
) -> dict[str, Any]:
    """The same by formula: activations and exchanges, layer by layer."""
    sizes, variant = mesh.shape, choice.variant
    spread = math.prod(sizes[axis] for axis in sharding.BATCH)
    examples = -(-variant.batch_size // spread)
    tokens = {m: n // variant.batch_size for m, n in variant.tokens(config).items()}
    kept = sum(activation_bytes(config, n, remat=config.remat) for n in tokens.values())
    own = _on_a_chip(taken)
    item = 2 if config.dtype == "bfloat16" else 4
    sent: dict[str, tuple[int, float]] = {}
    if sizes["data"] > 1:
        sent["all-reduce"] = (1, 2 * own * (sizes["data"] - 1) / sizes["data"])
    if sizes["fsdp"] > 1:
        # Gathered forward and backward, in the model's type; gradients scattered in float32.
        gathered = own * (sizes["fsdp"] - 1)
        passes = 3 if config.remat == "full" else 2
        sent["all-gather"] = (passes, passes * gathered * item / 4)
        sent["reduce-scatter"] = (1, gathered)
    if sizes["expert"] > 1 and config.num_moe_layers:
        exchanges = (6 if config.remat == "full" else 4) * config.num_moe_layers
        slots = sum(config.capacity(n) * config.num_experts for n in tokens.values()) * examples
        share = (sizes["expert"] - 1) / sizes["expert"]
        sent["all-to-all"] = (exchanges, exchanges * slots * config.width * item * share)
    return {
        "arguments": own,
        "outputs": own,
        "temporaries": float(kept * examples / sizes["model"]),
        "sent": sent,
    }
