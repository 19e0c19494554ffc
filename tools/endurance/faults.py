"""What goes wrong: each fault harms a team that trains, sees to it that the harm is told, and
leaves it to be started again where it has ended."""

import contextlib
import os
import pathlib
import shutil
import signal
import time
from collections.abc import Callable

import numpy as np

from endurance.team import HOSTS, Team
from imp_train.inspect import digest

Fault = Callable[[Team, np.random.Generator], None]
_WAIT = 120.0
# Two hosts begin in half a minute where nothing else is at work.
_BEGINNING = 600.0


def _expect(told: bool, what: str, team: Team) -> None:
    """Raises AssertionError with what the hosts said last."""
    if not told:
        raise AssertionError(f"{what}; the hosts said: …{team.said()[-2000:]}")


def host_killed(team: Team, rng: np.random.Generator) -> None:
    """kill -9 of one host; the manager ends the others."""
    team.hosts[int(rng.integers(HOSTS))].kill()
    team.kill()


def all_killed(team: Team, rng: np.random.Generator) -> None:
    """Power is gone: every process at once, the watcher too."""
    assert team.watch is not None
    team.watch.kill()
    team.kill()
    team.watch.wait()


def worker_killed(team: Team, rng: np.random.Generator) -> None:
    """kill -9 of a process that makes batches: its host says so and ends."""
    host = int(rng.integers(HOSTS))
    with contextlib.suppress(ProcessLookupError):
        for pid in team.workers(host):
            os.kill(pid, signal.SIGKILL)
    wait_for(lambda: team.hosts[host].poll() is not None, "a host to miss its worker")
    _expect(team.hosts[host].returncode != 0, "a host went on without its worker", team)
    team.kill()


def watcher_killed(team: Team, rng: np.random.Generator) -> None:
    """kill -9 of the one that scores; training does not notice."""
    assert team.watch is not None
    team.watch.kill()
    team.watch.wait()


def told_to_stop(team: Team, rng: np.random.Generator) -> None:
    """SIGTERM to one host: all save, and end well."""
    team.hosts[int(rng.integers(HOSTS))].terminate()
    statuses = team.wait(_WAIT)
    _expect(statuses == [0] * HOSTS, f"after SIGTERM the hosts ended with {statuses}", team)
    _expect("the same command goes on from here" in team.said(), "no word of going on", team)


def disk_full(team: Team, rng: np.random.Generator) -> None:
    """The next save finds no room: one line, status 2, and the save before is whole."""
    ballast = team.workdir / "ballast"
    with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
        while True:
            file.write(b"\0" * 2**16)
    try:
        wait_for(lambda: team.ended(), "a host to notice that the disk is full")
    finally:
        team.kill()
        ballast.unlink()
    _expect("is free at" in team.said() or "o space left" in team.said(), "no word of it", team)


def save_damaged(team: Team, rng: np.random.Generator) -> None:
    """A bit of the newest save flips while nothing runs: the one before it is taken."""
    team.kill()
    saves = sorted(_saves(team.workdir), key=lambda path: int(path.name))
    if len(saves) > 1:
        _flip_a_bit(team.workdir, saves[-1] / "state", rng)
    team.start()
    wait_until_it_trains(team)
    told = "going back to the one before" in team.said()
    _expect(told or len(saves) < 2, "a damaged save was not told", team)


def _flip_a_bit(workdir: pathlib.Path, state: pathlib.Path, rng: np.random.Generator) -> None:
    """One of the largest file's that matters: some are of no array."""
    sound = digest(workdir, moments=True)
    files = [path for path in state.rglob("*") if path.is_file()]
    path = max(files, key=lambda path: path.stat().st_size)
    content = path.read_bytes()
    while _digest_of_any(workdir) == sound:
        place, bit = int(rng.integers(len(content))), 1 << int(rng.integers(8))
        flipped = bytes([content[place] ^ bit])
        path.write_bytes(content[:place] + flipped + content[place + 1 :])


def _digest_of_any(workdir: pathlib.Path) -> tuple[int, str] | None:
    """None of a save that can't be read."""
    try:
        return digest(workdir, moments=True)
    except Exception:  # noqa: BLE001
        return None


def shard_gone(team: Team, rng: np.random.Generator) -> None:
    """A shard of the data is not there at a start: one line that names it, status 2."""
    team.kill()
    shards = sorted((team.data / "tensorstore" / "train").glob("*/c/*/0/0/0"))
    gone = shards[int(rng.integers(len(shards)))]
    hidden = team.data.parent / "hidden-shard"
    shutil.move(gone, hidden)
    try:
        team.start()
        wait_for(lambda: team.ended(), "a host to notice that a shard is gone")
    finally:
        team.kill()
        shutil.move(hidden, gone)
    _expect(str(gone) in team.said(), f"no word of {gone}", team)


def clock_jumps(team: Team, rng: np.random.Generator) -> None:
    """Every process's wall clock, by up to two days, forward or back; nothing may notice."""
    team.clock.write_text(str(int(rng.integers(-172_800, 172_800))))


def stalled(team: Team, rng: np.random.Generator) -> None:
    """A host stands still for two seconds, as one whose disk or network hangs."""
    _stand_still(team, int(rng.integers(HOSTS)))


def slow_disk(team: Team, rng: np.random.Generator) -> None:
    """A host stands still for two seconds in the midst of a save."""
    saving = team.workdir / "checkpoints"
    with contextlib.suppress(TimeoutError):
        wait_for(
            lambda: any(saving.glob("*tmp*")) or team.ended(), "a save", seconds=20, pause=1e-3
        )
    _stand_still(team, 0)


def _stand_still(team: Team, host: int) -> None:
    team.hosts[host].send_signal(signal.SIGSTOP)
    time.sleep(2)
    team.hosts[host].send_signal(signal.SIGCONT)


def _saves(workdir: pathlib.Path) -> list[pathlib.Path]:
    return [path for path in (workdir / "checkpoints").glob("*") if path.name.isdigit()]


def wait_for(
    done: Callable[[], bool], what: str, *, seconds: float = _WAIT, pause: float = 0.05
) -> None:
    """Raises TimeoutError."""
    give_up = time.monotonic() + seconds
    while not done():
        if time.monotonic() > give_up:
            raise TimeoutError(f"waited {seconds:g} s for {what}")
        time.sleep(pause)


def wait_until_it_trains(team: Team, steps: int = 0) -> None:
    """Until the hosts train, and have taken so many steps, or are at the end of the run.

    Raises AssertionError where a host ends with an error.
    """
    with contextlib.suppress(TimeoutError):
        wait_for(lambda: team.step() >= 0 or team.ended(), "training to begin", seconds=_BEGINNING)
    reach = team.step() + steps
    with contextlib.suppress(TimeoutError):
        wait_for(lambda: team.step() >= reach or team.ended(), "steps", seconds=_BEGINNING)
    if team.ended():
        statuses = team.wait(_WAIT)
        _expect(statuses == [0] * HOSTS, f"the hosts ended with {statuses}", team)
    else:
        _expect(0 <= reach <= team.step(), f"no step was taken within {_BEGINNING:g} s", team)


FAULTS: dict[str, Fault] = {
    "host killed": host_killed,
    "all killed": all_killed,
    "worker killed": worker_killed,
    "watcher killed": watcher_killed,
    "SIGTERM": told_to_stop,
    "disk full": disk_full,
    "save damaged": save_damaged,
    "shard gone": shard_gone,
    "clock jumps": clock_jumps,
    "stalled": stalled,
    "slow disk": slow_disk,
}
