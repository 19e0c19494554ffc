"""The command line: imp-train list | show | plan | run | study | inspect."""

import dataclasses
import json
import logging
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import tyro

from imp_data.flags import check_given_once
from imp_train import studies
from imp_train.columns import aligned
from imp_train.compile import use_persistent_cache
from imp_train.config import Experiment
from imp_train.describe import describe, layers_of, page
from imp_train.experiments import EXPERIMENTS, make, summary_of
from imp_train.inspect import digest, inspect
from imp_train.placement import MeshShape
from imp_train.plan import plan
from imp_train.plan_page import page as page_of_plan
from imp_train.processes import Processes, are_several, is_first, leave
from imp_train.studies import curves, routers
from imp_train.studies import report as study_report
from imp_train.studies.convergence import study as convergence
from imp_train.studies.run import run as run_study
from imp_train.topology import Topology
from imp_train.train import train


@dataclasses.dataclass(frozen=True, kw_only=True)
class List:
    """Print the shipped experiments."""

    def run(self) -> int:
        rows = [
            (name, layers_of(make(name, Path("data")).model), summary_of(name))
            for name in EXPERIMENTS
        ]
        print("\n".join(aligned(rows)))
        return 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Chosen:
    """An experiment, and the options that it is made with; not every experiment has every one."""

    name: Annotated[str, tyro.conf.Positional]
    """One of `imp-train list`, or a function of your own: FILE.py:FUNCTION."""
    data: Path = Path("data")
    """Folder of the built datasets."""
    minutes: float | None = None
    """Training time to aim at on two cores; sets the number of steps."""
    steps: int | None = None
    batch: int | None = None
    """Examples a batch; variants take shares of it."""
    resolution: int | None = None
    """Pixels a side of the base image and video."""
    model: str | None = None
    """Another model size, one of `imp-model list`."""
    datasets: tuple[str, ...] | None = None
    """Those of the experiment's datasets to train on."""
    objectives: str | None = None
    """How objectives are mixed: alternating, sum, mixed, nce or sce."""
    recipe: str | None = None
    """paper or released: whose batch, steps and optimizer."""
    seed: int | None = None

    def make(self) -> Experiment:
        own = [f.name for f in dataclasses.fields(_Chosen) if f.name not in ("name", "data")]
        return make(self.name, self.data, **{option: getattr(self, option) for option in own})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Show(_Chosen):
    """Print an experiment's tasks, weights, shapes and tokens a batch; data need not be there."""

    json: bool = False
    """One JSON object in place of the page."""

    def run(self) -> int:
        found = describe(self.make())
        print(json.dumps(found, indent=1) if self.json else page(found, summary_of(self.name)))
        return 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run(_Chosen):
    """Train an experiment, or go on where its workdir stands; writes WORKDIR/bundle at the end."""

    workdir: Path
    """Folder of the checkpoints, metrics and bundle."""
    cache: Path | None = None
    """Folder of compiled programs; WORKDIR/compiled without it."""
    init_from: Path | None = None
    """Bundle to start from, as `imp-model warm-start` or `upcycle` or another run wrote it."""
    workers: int = 0
    """Processes that make the batches; a thread of this one without."""
    bundle_every: int = 0
    """Steps after which the model so far is written to WORKDIR/bundles, for `imp-eval watch`."""
    mesh: MeshShape = dataclasses.field(default_factory=MeshShape)
    processes: Processes = dataclasses.field(default_factory=Processes)

    def run(self) -> int:
        self.processes.join()
        experiment = dataclasses.replace(self.make(), init_from=self.init_from)
        use_persistent_cache(self.cache or self.workdir / "compiled")
        summary = train(
            experiment,
            self.workdir,
            progress=is_first(),
            num_workers=self.workers,
            mesh=self.mesh,
            bundle_every=self.bundle_every,
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
class Plan(_Chosen):
    """Compile an experiment for accelerators that are not here: does it fit, what does it cost?"""

    topology: str
    """A slice of TPUs as v4:8x8x4, v5e:16x16, v5p:… or v6e:…, or GPUs of a node as h200x8."""
    mesh: MeshShape = dataclasses.field(default_factory=MeshShape)
    classes: int = 20_000
    """Labels of each classifier."""
    only: tuple[str, ...] = ()
    """Variants whose programs to compile, such as webli/image-text/base; all without."""
    cache: Path = Path.home() / ".cache" / "imp" / "plans"
    """Folder of what was compiled once."""

    def run(self) -> int:
        experiment = self.make()
        found = plan(
            experiment,
            Topology.parse(self.topology),
            self.mesh,
            classes=self.classes,
            cache=self.cache,
            say=lambda line: print(line, file=sys.stderr, flush=True),
            only=self.only,
        )
        print(page_of_plan(found, experiment))
        return 0 if all(found.fits(program) for program in found.programs) else 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunStudy:
    """Run a study of the paper's: its arms at equal compute, seed by seed, scored on held-out data.

    Writes WORKDIR/NAME-SCALE/: a table, figures, and results.jsonl. Stopped, it goes on.
    "convergence" needs no data and has one scale.
    """

    name: Annotated[str, tyro.conf.Positional]
    """objectives, mixtures, resolutions, experts, audio, towers, routing, balance, schedules,
    qk_norm, prompts or convergence."""
    workdir: Path
    data: tuple[Path, ...] = (Path("quickstart/data"),)
    """Built datasets, or folders of some."""
    scale: str = "tiny"
    """tiny, small or gpu: steps, batch and model."""
    seeds: int = 3

    def run(self) -> int:
        if self.seeds < 1:
            raise ValueError(f"--seeds {self.seeds}: a study takes at least 1")
        if self.name == "convergence":
            root = self.workdir / self.name
            found = convergence.run(root, seeds=self.seeds)
            text, written = convergence.table(found), convergence.write(found, root)
        else:
            study = studies.make(self.name, self.data, scale=self.scale)
            root = self.workdir / f"{self.name}-{self.scale}"
            runs = run_study(study, root, seeds=self.seeds)
            text = "\n".join(
                filter(None, [study_report.table(study, runs), routers.table(study, root, runs)])
            )
            picture, losses = study_report.figure(study, runs), curves.figure(study, root, runs)
            written = study_report.write_page(study.name, text, picture, root)
            written += study_report.write_picture(f"{study.name}-losses", losses, root)
        print(text)
        print("\n".join(map(str, written)))
        return 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Inspect:
    """Print how far a run has come, what it took, and each task's first and last losses."""

    workdir: Annotated[Path, tyro.conf.Positional]
    digest: bool = False
    """Print a digest of the last checkpoint's parameters: equal digests, equal bits."""
    json: bool = False
    """One JSON object in place of the table."""

    def run(self) -> int:
        found = inspect(self.workdir)
        step, text = digest(self.workdir) if self.digest else (None, None)
        if self.json:
            own = {"digest": text, "digest_step": step} if self.digest else {}
            print(json.dumps(dataclasses.asdict(found) | own, indent=1))
            return 0
        print(found)
        if self.digest:
            print(f"\nparameters at step {step:,}: sha256 {text}")
        return 0


Command = (
    Annotated[List, tyro.conf.subcommand("list")]
    | Annotated[Show, tyro.conf.subcommand("show")]
    | Annotated[Run, tyro.conf.subcommand("run")]
    | Annotated[Plan, tyro.conf.subcommand("plan")]
    | Annotated[RunStudy, tyro.conf.subcommand("study")]
    | Annotated[Inspect, tyro.conf.subcommand("inspect")]
)


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit status: 2, and one line on stderr, for what the caller can put right."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    arguments = list(sys.argv[1:] if argv is None else argv)
    command = tyro.cli(Command, prog="imp-train", args=arguments)  # type: ignore[arg-type]
    try:
        check_given_once(arguments)
        return command.run()
    except KeyboardInterrupt:
        print(
            "imp-train: stopped; the same command goes on from its last checkpoint", file=sys.stderr
        )
        status = 130
    except (ValueError, OSError, FloatingPointError) as error:
        print(f"imp-train: {error}", file=sys.stderr)
        status = 2
    except Exception:
        if not are_several():
            raise
        traceback.print_exc()
        status = 1
    if are_several():
        leave(status)
    return status


if __name__ == "__main__":
    sys.exit(main())
