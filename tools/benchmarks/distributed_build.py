"""Every sample corpus built by Dask's workers, one of them killed midway: the same bytes?"""

import dataclasses
import os
import shutil
import signal
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from distributed import LocalCluster

from imp_data.pipelines.build import build_dataset
from quickstart.stages import SOURCES, build_options


@dataclasses.dataclass(frozen=True, kw_only=True)
class DistributedBuild:
    """Builds each of the quickstart's corpora in this process, and by workers of which one is
    killed once the first shard is there; compares every file."""

    samples: Path = Path("quickstart/samples")
    """The quickstart's sample files."""
    corpora: tuple[str, ...] = tuple(SOURCES)
    workers: int = 2

    def run(self) -> None:
        for name in self.corpora:
            if not (self.samples / name).is_dir():
                raise ValueError(f"no samples at {self.samples / name}: run ./imp quickstart first")
        print("| corpus | shards | there when a worker was killed | files | bytes |")
        print("|---|---|---|---|---|")
        for name in self.corpora:
            with tempfile.TemporaryDirectory(prefix="imp-distributed-") as scratch:
                print(self._row(name, Path(scratch)), flush=True)

    def _row(self, name: str, root: Path) -> str:
        options = build_options(name, self.samples.absolute() / name)
        alone, spread = root / "alone", root / "spread"
        build_dataset(out=alone, progress=False, **options)
        there = self._spread(options, spread)
        ours, theirs = files(alone), files(spread)
        if different := sorted(k for k in ours | theirs if ours.get(k) != theirs.get(k)):
            raise ValueError(f"{name}: {len(different)} files differ, the first {different[0]}")
        shards = len(list((spread / "receipts").glob("*.json")))
        size = sum(map(len, ours.values()))
        shutil.rmtree(alone)
        return f"| {name} | {shards} | {there} | {len(ours)}, all equal | {size:,} |"

    def _spread(self, options: dict[str, Any], out: Path) -> int:
        """Shards that were there when a worker was killed."""
        there: list[int] = []

        def receipts() -> int:
            return len(list((out / "receipts").glob("*.json")))

        def kill(pid: int) -> None:
            while not receipts():
                time.sleep(0.002)
            os.kill(pid, signal.SIGKILL)
            there.append(receipts())

        with LocalCluster(
            n_workers=self.workers,
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            dashboard_address=None,
        ) as cluster:
            killer = threading.Thread(target=kill, args=(cluster.workers[0].process.pid,))
            killer.start()
            runner = ("--runner=DaskRunner", f"--dask_client_address={cluster.scheduler_address}")
            build_dataset(out=out, progress=False, pipeline_options=runner, **options)
            killer.join()
        return there[0]


def files(root: Path) -> dict[str, bytes]:
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file()
    }
