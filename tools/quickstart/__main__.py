"""`./imp quickstart`: everything, once, on this machine; a second run reuses what is there."""

import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

# Four lines of compiler chatter about the host's instruction set would drown the progress bars.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import tyro

from imp_data.stores.lock import sole_writer
from imp_eval.client import ServiceError
from quickstart import page, report, score, stages


@dataclasses.dataclass(frozen=True, kw_only=True)
class Quickstart:
    """Real data, a trained model and a search service on this machine, in one go."""

    workdir: Path = Path("quickstart")
    """Everything is written here; run it again to go on or to reuse what is there."""
    seed: int = 0
    """Of the samples' training split, the data order and the parameters."""
    minutes: float = 8.0
    """What all of it should take on two cores; more means longer training."""

    def run(self) -> None:
        if self.minutes <= 0:
            raise ValueError(f"--minutes {self.minutes} must be above 0; 8 is the default")
        workdir = self.workdir.absolute()
        with sole_writer(workdir):
            self._run(workdir)

    def _run(self, workdir: Path) -> None:
        seconds: dict[str, float] = {}
        began = last = time.monotonic()

        def done(stage: str) -> None:
            nonlocal last
            seconds[stage] = round(time.monotonic() - last, 1)
            last = time.monotonic()

        say("1/5  sample files")
        samples = stages.write_samples(workdir, self.seed)
        done("samples")
        say("2/5  shards")
        data = stages.build_data(workdir, samples)
        done("data")
        say("3/5  training")
        run = stages.train(workdir, data, minutes=self.minutes, seed=self.seed)
        done("train")
        say("4/5  service and evaluation")
        with stages.serve(run / "bundle", workdir / "compiled") as address:
            results = score.evaluate(address, samples)
        done("eval")
        seconds["total"] = round(time.monotonic() - began, 1)
        say("5/5  report")
        content = report.assemble(run, results, seconds)
        report.write(workdir / "report.json", content)
        page.write(workdir / "report.html", content, results, run)
        print(report.table(content))
        print(f"\nreport   {workdir / 'report.html'}")
        print(f"bundle   {run / 'bundle'}")
        print(f"serve it ./imp eval serve --bundle {run / 'bundle'}")


def say(line: str) -> None:
    print(f"\n== {line}", file=sys.stderr, flush=True)


def main() -> int:
    command = tyro.cli(Quickstart, prog="imp quickstart")
    # As Ctrl-C: the stage in work is stopped and waited for, never left behind.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        command.run()
    except (ValueError, OSError, ModuleNotFoundError, ServiceError) as error:
        print(f"imp quickstart: {error}", file=sys.stderr)
        return 2
    except subprocess.CalledProcessError as error:
        # The stage has said why, in its own one line.
        print(f"imp quickstart: {stages.name_of(error)} failed; see above", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("imp quickstart: stopped; the same command goes on from here", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
