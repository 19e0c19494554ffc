"""The command line: imp-train list | show | run | inspect."""

import dataclasses
import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import tyro

from imp_model.config import ModelConfig
from imp_train import metrics
from imp_train.compile import use_persistent_cache
from imp_train.config import Experiment
from imp_train.experiments.quickstart import MINUTES, quickstart
from imp_train.loop import train
from imp_train.placement import MeshShape
from imp_train.processes import Processes, is_first, leave

EXPERIMENTS: dict[str, Callable[..., Experiment]] = {"quickstart": quickstart}


def make(name: str, data: Path, **options: Any) -> Experiment:
    """Raises ValueError naming the known experiments."""
    if name not in EXPERIMENTS:
        raise ValueError(f"experiment {name!r} is unknown; one of {', '.join(EXPERIMENTS)}")
    return EXPERIMENTS[name](data, **options)


@dataclasses.dataclass(frozen=True, kw_only=True)
class List:
    """Print the shipped experiments."""

    def run(self) -> int:
        for name, function in EXPERIMENTS.items():
            module = sys.modules[function.__module__]
            print(f"{name:12} {(module.__doc__ or '').splitlines()[0]}")
        return 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Show:
    """Print an experiment's tasks, weights, shapes and tokens a batch."""

    name: Annotated[str, tyro.conf.Positional]
    data: Path
    """Folder of the built datasets."""

    def run(self) -> int:
        print(describe(make(self.name, self.data)))
        return 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    """Train an experiment, or go on where its workdir stands; writes WORKDIR/bundle at the end."""

    name: Annotated[str, tyro.conf.Positional]
    data: Path
    """Folder of the built datasets."""
    workdir: Path
    """Folder of the checkpoints, metrics and bundle."""
    minutes: float = MINUTES
    """Training time to aim at on two cores; sets the number of steps."""
    seed: int = 0
    cache: Path | None = None
    """Folder of compiled programs; WORKDIR/compiled without it."""
    init_from: Path | None = None
    """Bundle to start from, as `imp-model warm-start` or `upcycle` or another run wrote it."""
    workers: int = 0
    """Processes that make the batches; a thread of this one without."""
    mesh: MeshShape = dataclasses.field(default_factory=MeshShape)
    processes: Processes = dataclasses.field(default_factory=Processes)

    def run(self) -> int:
        self.processes.join()
        experiment = make(self.name, self.data, minutes=self.minutes, seed=self.seed)
        experiment = dataclasses.replace(experiment, init_from=self.init_from)
        use_persistent_cache(self.cache or self.workdir / "compiled")
        summary = train(
            experiment,
            self.workdir,
            progress=is_first(),
            num_workers=self.workers,
            mesh=self.mesh,
        )
        if not is_first():
            return 0
        s = summary.seconds
        print(
            f"step {summary.step} of {experiment.steps} in {s['total']:.0f} s: "
            f"{summary.signatures} programs compiled in {s['compile']:.0f} s beside it, "
            f"{s['waiting']:.1f} s waiting for data"
        )
        if summary.finished:
            print(f"bundle at {self.workdir / 'bundle'}")
        else:
            print("stopped; the same command goes on from here")
        return 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Inspect:
    """Print how far a run has come, and each task's first and last losses."""

    workdir: Annotated[Path, tyro.conf.Positional]

    def run(self) -> int:
        for row in metrics.summary(metrics.read(self.workdir)):
            print(
                f"{row['name']:26} {row['variant']:14} {row['steps']:5} steps  "
                f"loss {row['loss_first']:.3f} -> {row['loss_last']:.3f}"
            )
        return 0


Command = (
    Annotated[List, tyro.conf.subcommand("list")]
    | Annotated[Show, tyro.conf.subcommand("show")]
    | Annotated[Run, tyro.conf.subcommand("run")]
    | Annotated[Inspect, tyro.conf.subcommand("inspect")]
)


def describe(experiment: Experiment) -> str:
    lines = [f"{experiment.name}: {experiment.steps} steps, {_model(experiment.model)}"]
    for task in experiment.tasks:
        for variant in task.variants:
            tokens = ", ".join(f"{n} {m}" for m, n in variant.tokens(experiment.model).items())
            views = " ".join(view.key for view in variant.views)
            lines.append(
                f"  {task.name:26} {task.objective.name:9} {variant.name:14} "
                f"batch {variant.batch_size:4}  {views}: {tokens} tokens"
            )
    return "\n".join(lines)


def _model(c: ModelConfig) -> str:
    return (
        f"width {c.width}, {c.num_dense_layers} dense + {c.num_moe_layers} MoE layers of "
        f"{c.num_experts} experts"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit status: 2, and one line on stderr, for what the caller can put right."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    command = tyro.cli(Command, prog="imp-train", args=argv)  # type: ignore[arg-type]
    try:
        return command.run()
    except KeyboardInterrupt:
        print(
            "imp-train: stopped; the same command goes on from its last checkpoint", file=sys.stderr
        )
        return 130
    except (ValueError, OSError, FloatingPointError) as error:
        print(f"imp-train: {error}", file=sys.stderr)
        if isinstance(error, ConnectionError):
            leave(2)
        return 2


if __name__ == "__main__":
    sys.exit(main())
