"""What a new process pays before its first batch, and its memory, by the number of examples."""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks import synthetic
from imp_data.tokenizer import Tokenizer

_BATCHES, _BATCH_SIZE = 50, 256
_CODE = "from benchmarks.cold_start import load; load()"


def compare(workdir: Path, counts: Sequence[int], *, rounds: int) -> None:
    """Prints a row for each number of examples, with captions and labels; medians of rounds."""
    tokenizer = workdir / "tokenizer.model"
    if not tokenizer.is_file():
        Tokenizer.train([synthetic.caption(i) for i in range(2_000)], tokenizer, 400)
    print(
        f"captioned, labelled examples in batches of {_BATCH_SIZE}, files not in memory at first\n"
        f"| examples | first batch, s after the process began | its CPU s | peak memory of "
        f"{_BATCHES} batches, MiB |\n|---|---|---|---|"
    )
    for count in counts:
        path = synthetic.write(workdir / f"synthetic-{count}", count)
        costs = [_measure(path, tokenizer) for _ in range(rounds)]
        first, cpu, peak = (statistics.median(values) for values in zip(*costs))
        print(f"| {count:,} | {first:.2f} | {cpu:.2f} | {peak:.0f} |")


def _measure(path: Path, tokenizer: Path) -> list[float]:
    """Seconds and CPU seconds until the first batch, and MiB at most, of a process of its own."""
    for file in path.rglob("*"):
        if file.is_file():
            descriptor = os.open(file, os.O_RDONLY)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)
    began = time.monotonic()
    arguments = [sys.executable, "-P", "-c", _CODE, str(path), str(tokenizer), str(began)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(arguments, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return [float(value) for value in done.stdout.split()]


def load() -> None:
    """The process: prints the three figures."""
    from imp_data.datasets import Dataset
    from imp_data.loader import Loader
    from imp_data.views import TextView

    path, tokenizer, began = sys.argv[1:]
    with Loader(
        Dataset.load(path),
        split="train",
        views=[synthetic.VIEW, TextView(length=16)],
        batch_size=_BATCH_SIZE,
        seed=0,
        tokenizer=Tokenizer.load(tokenizer),
    ) as loader:
        loader.batch(0)
        print(time.monotonic() - float(began), time.process_time())
        for _ in loader.batches(1, _BATCHES):
            pass
    # The process's own, where getrusage's may be that of whoever started it.
    status = Path("/proc/self/status").read_text()
    print(int(status.partition("VmHWM:")[2].split()[0]) / 1024)
