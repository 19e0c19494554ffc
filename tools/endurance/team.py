"""Team: the processes of one training: hosts, their loaders' workers, and the one that scores."""

import contextlib
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

from endurance import workload

HOSTS = 2
TASKS = ("zero-shot",)
_CLOCK = pathlib.Path(__file__).parent / "clock"


class Team:
    """Processes that train in `workdir`, started as a cluster's manager would: all or none."""

    def __init__(
        self, root: pathlib.Path, data: pathlib.Path, workdir: pathlib.Path, steps: int
    ) -> None:
        self.data = data
        self.workdir = workdir
        self.clock = root / "clock"
        self.hosts: list[subprocess.Popen[bytes]] = []
        self.watch: subprocess.Popen[bytes] | None = None
        self._root = root
        self._steps = steps
        self._heard = [0] * HOSTS
        self._started = 0.0

    def start(self) -> None:
        """Hosts that find each other, and the watcher."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self._started = time.time()
        self.hosts = [
            self._begin(
                f"host-{index}",
                *("imp_train.cli", "run", f"{workload.__file__}:experiment"),
                *("--data", self.data, "--workdir", self.workdir, "--steps", self._steps),
                *("--cache", self._root / "compiled", "--workers", 1, "--bundle-every", 500),
                *("--processes.coordinator", f"127.0.0.1:{port}", "--processes.number", HOSTS),
                *("--processes.index", index, "--processes.lost-after", 20),
            )
            for index in range(HOSTS)
        ]
        self.start_watch()

    def start_watch(self) -> None:
        """Unless it is there."""
        if self.watch is None or self.watch.poll() is not None:
            self.workdir.mkdir(exist_ok=True)
            self.watch = self._begin(
                "watch",
                *("imp_eval.cli", "watch", self.workdir, "--every-seconds", 1),
                *("--benchmark", f"colours=dataset:{self.data}", "--tasks", *TASKS),
            )

    def _begin(self, name: str, module: str, *arguments: object) -> "subprocess.Popen[bytes]":
        path = os.pathsep.join(filter(None, [str(_CLOCK), os.environ.get("PYTHONPATH", "")]))
        with self.log(name).open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-P", "-m", module, *map(str, arguments)],
                env=os.environ | {"PYTHONPATH": path, "IMP_CLOCK": str(self.clock)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def log(self, name: str) -> pathlib.Path:
        """What a process, over all its lives, has said."""
        return self._root / f"{name}.log"

    def said(self) -> str:
        """By the hosts, since the last `listen`."""
        logs = [self.log(f"host-{index}").read_bytes() for index in range(HOSTS)]
        parts = [log[start:] for log, start in zip(logs, self._heard, strict=True)]
        return b"\n".join(parts).decode("utf-8", "replace")

    def listen(self) -> None:
        """What is said from here on is what `said` gives."""
        self._heard = [self.log(f"host-{index}").stat().st_size for index in range(HOSTS)]

    def workers(self, host: int) -> list[int]:
        """The processes that make a host's batches."""
        return list(children_of(self.hosts[host].pid))

    def ended(self) -> bool:
        """Whether some host has."""
        return any(host.poll() is not None for host in self.hosts)

    def wait(self, seconds: float) -> list[int]:
        """The hosts' statuses, once all have ended. Raises TimeoutError."""
        give_up = time.monotonic() + seconds
        try:
            return [host.wait(max(0.0, give_up - time.monotonic())) for host in self.hosts]
        except subprocess.TimeoutExpired as error:
            raise TimeoutError(f"a host has not ended within {seconds:g} s") from error

    def kill(self) -> None:
        """All hosts, as they are: stopped ones too."""
        for host in self.hosts:
            host.kill()
        for host in self.hosts:
            host.wait()

    def close(self) -> None:
        self.kill()
        if self.watch is not None:
            self.watch.send_signal(signal.SIGKILL)
            self.watch.wait()

    def step(self) -> int:
        """Records in metrics.jsonl, which are the steps taken; -1 until these hosts train."""
        path = self.workdir / "metrics.jsonl"
        # What was recorded beyond the last save is cut off as training begins.
        if not path.exists() or path.stat().st_mtime < self._started:
            return -1
        return path.read_bytes().count(b"\n")

    def memory(self) -> dict[str, float]:
        """MiB that each process holds, by its role."""
        found = {}
        for index, host in enumerate(self.hosts):
            found[f"host {index}"] = _resident(host.pid)
            for place, worker in enumerate(self.workers(index)):
                found[f"host {index}, worker {place}"] = _resident(worker)
        if self.watch is not None:
            found["watch"] = _resident(self.watch.pid)
        return {name: size for name, size in found.items() if size}


def children_of(pid: int) -> Iterator[int]:
    """None of a process, or a thread, that has ended."""
    for task in pathlib.Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            yield from map(int, task.read_text().split())


def _resident(pid: int) -> float:
    """In MiB; 0 of a process that has ended."""
    try:
        pages = int(pathlib.Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
