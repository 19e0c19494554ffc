"""`./imp endurance`: a training under faults ends as one that was left alone, to the bit."""

import collections
import contextlib
import dataclasses
import pathlib
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator

import numpy as np
from tqdm import tqdm

from endurance import workload
from endurance.faults import FAULTS, wait_for, wait_until_it_trains
from endurance.team import HOSTS, TASKS, Team
from imp_eval.evaluation.watch import scored
from imp_train.inspect import digest

_MIB = 2**20
# Steps after which memory has to be flat.
_LONG = 5_000


@dataclasses.dataclass(frozen=True, kw_only=True)
class Endurance:
    """Trains on two hosts with a loader's worker each, scores what they export, harms all of it
    again and again, and compares parameters, moments, metrics and bundle with an undisturbed run.

    The workdir lies on a disk of its own, a tmpfs, where one can be mounted; without, no disk runs
    full.
    """

    faults: int = 100
    """At least so many; a run that ends before them begins anew."""
    steps: int = 10_000
    """Of a run."""
    kinds: tuple[str, ...] = tuple(FAULTS)
    """Which faults, by turns."""
    seed: int = 0
    """Of the moments."""
    keep: pathlib.Path | None = None
    """Where to leave logs and workdirs; without, they are gone afterwards."""

    def run(self) -> None:
        """Raises ValueError for options that make no run."""
        self._check()
        root = self.keep or pathlib.Path(tempfile.mkdtemp(prefix="imp-endurance-"))
        root.mkdir(parents=True, exist_ok=True)
        try:
            print(self.report(root))
        finally:
            if self.keep is None:
                shutil.rmtree(root)

    def _check(self) -> None:
        if unknown := [kind for kind in self.kinds if kind not in FAULTS]:
            raise ValueError(f"--kinds {unknown[0]!r} is unknown; one of {', '.join(FAULTS)}")
        if self.faults < 1 or self.steps < 60:
            raise ValueError(
                f"--faults {self.faults} must be at least 1, and --steps {self.steps} at least 60, "
                "so that a fault finds a save"
            )

    def report(self, root: pathlib.Path) -> str:
        """What was endured; raises AssertionError or TimeoutError for what was not."""
        data = workload.write(root)
        whole = Team(root, data, root / "whole", self.steps)
        began = time.monotonic()
        with contextlib.closing(whole):
            memory = _left_alone(whole)
        length = time.monotonic() - began
        with _disk(root / "disk") as (disk, limited):
            kinds = [kind for kind in self.kinds if limited or kind != "disk full"]
            try:
                met, runs = self._endured(root, data, disk, whole, kinds)
            except BaseException:
                # The disk goes with the command, and what went wrong is to be seen by --keep.
                shutil.copytree(disk, root / "failed", dirs_exist_ok=True)
                raise
        lines = [
            f"{sum(met.values())} faults in {runs} runs of {self.steps:,} steps: all ended as the "
            f"one that was left alone in {length:.0f} s, to the bit: parameters, moments, metrics "
            "and bundle",
            "",
            "| fault | times |",
            "|---|---|",
            *(f"| {kind} | {count} |" for kind, count in met.items()),
            "",
            "| resident, MiB, left alone | first half | second half |",
            "|---|---|---|",
            *(f"| {name} | {a:.1f} | {b:.1f} |" for name, (a, b) in memory.items()),
        ]
        return "\n".join(lines)

    def _endured(
        self,
        root: pathlib.Path,
        data: pathlib.Path,
        disk: pathlib.Path,
        whole: Team,
        kinds: list[str],
    ) -> tuple[dict[str, int], int]:
        rng = np.random.default_rng(self.seed)
        met: dict[str, int] = collections.Counter()
        runs, order = 0, self._order(kinds, rng)
        with tqdm(total=self.faults, unit="fault", disable=None) as bar:
            while sum(met.values()) < self.faults:
                runs += 1
                team = Team(root, data, disk / "run", self.steps)
                with contextlib.closing(team):
                    team.start()
                    while sum(met.values()) < self.faults:
                        wait_until_it_trains(team, int(rng.integers(1, self._pace)))
                        # Close to its end a run may be over before a fault can tell.
                        if team.ended() or team.step() > 0.9 * self.steps:
                            break
                        kind = next(order)
                        bar.set_postfix_str(kind)
                        team.listen()
                        FAULTS[kind](team, rng)
                        met[kind] += 1
                        bar.update()
                        # What has not been brought down goes on, but for a watcher who is gone.
                        if team.ended():
                            team.kill()
                            team.start()
                        else:
                            team.start_watch()
                    _to_its_end(team)
                _compare(whole.workdir, team.workdir)
                shutil.rmtree(team.workdir)
        return dict(sorted(met.items())), runs

    @property
    def _pace(self) -> int:
        """The most steps between faults: enough of them find a run at work."""
        return max(2, min(120, self.steps // 10))

    @staticmethod
    def _order(kinds: list[str], rng: np.random.Generator) -> Iterator[str]:
        """All of them once, in an order of its own, again and again."""
        while True:
            yield from (kinds[i] for i in rng.permutation(len(kinds)))


def _left_alone(team: Team) -> dict[str, tuple[float, float]]:
    """Runs to the end; mean MiB of each process in the first and second half, a fifth left out at
    the start.

    Raises AssertionError where one grows.
    """
    team.start()
    wait_until_it_trains(team)
    samples: dict[str, list[tuple[int, float]]] = {}
    while not team.ended():
        step = team.step()
        for name, size in team.memory().items():
            samples.setdefault(name, []).append((step, size))
        time.sleep(0.5)
    _to_its_end(team)
    found = {}
    for name, own in samples.items():
        steps, sizes = np.array(own).T
        last = steps.max()
        first = sizes[(steps > 0.2 * last) & (steps <= 0.6 * last)]
        second = sizes[steps > 0.6 * last]
        if len(first) and len(second):
            found[name] = (float(first.mean()), float(second.mean()))
            # In a short run much is still imported and compiled.
            flat = last < _LONG or second.mean() < 1.03 * first.mean() + 8
            assert flat, f"{name} grows from {found[name][0]:.1f} to {found[name][1]:.1f} MiB"
    return found


def _to_its_end(team: Team) -> None:
    """The hosts', and the watcher's, which has then scored every bundle once."""
    statuses = team.wait(3_600)
    assert statuses == [0] * HOSTS, f"the hosts ended with {statuses}: {team.said()[-2000:]}"
    assert team.watch is not None
    wait_for(lambda: team.watch is not None and team.watch.poll() is not None, "the watcher's end")
    said = team.log("watch").read_text()
    assert team.watch.returncode == 0, f"the watcher ended badly: {said[-2000:]}"
    exported = len([*(team.workdir / "bundles").glob("step-*")]) + 1
    found = len({digest for digest, _ in scored(team.workdir, TASKS)})
    assert found == exported, f"{found} of {exported} bundles were scored"


def _compare(whole: pathlib.Path, other: pathlib.Path) -> None:
    """Raises AssertionError naming what is not equal."""
    ours, theirs = (
        {path.name for path in (own / "bundles").glob("step-*")} for own in (whole, other)
    )
    assert ours == theirs, f"of the bundles on the way {sorted(ours - theirs)} are missing"
    for file in ("metrics.jsonl", "bundle/params.safetensors"):
        same = (whole / file).read_bytes() == (other / file).read_bytes()
        assert same, f"{file} is not that of the run that was left alone"
    same = digest(whole, moments=True) == digest(other, moments=True)
    assert same, "the last checkpoint is not that of the run that was left alone"


@contextlib.contextmanager
def _disk(place: pathlib.Path) -> Iterator[tuple[pathlib.Path, bool]]:
    """A small disk, if one may be mounted; else a folder, and False."""
    place.mkdir()
    options = ["-t", "tmpfs", "-o", f"size={64 * _MIB}", "tmpfs", str(place)]
    limited = subprocess.run(["mount", *options], capture_output=True).returncode == 0
    try:
        yield place, limited
    finally:
        if limited:
            subprocess.run(["umount", "--lazy", str(place)], check=True)
