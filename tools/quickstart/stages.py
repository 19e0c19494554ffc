"""The stages, each through the commands and calls that anyone else would use."""

import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from imp_data import own_tokenizer, samples
from imp_data.cli import corpus
from imp_data.datasets import Dataset
from imp_data.pipelines import build
from imp_data.tokenizer import Tokenizer
from imp_train.experiments.quickstart import STORED_VIEWS, VOCAB_SIZE

# What the stages around training take on two cores, by the quickstart's own report.
_MINUTES_BESIDE_TRAINING = 3.5
_SERVER_SECONDS = 180
SOURCES = {
    "icons": "csv:{}/manifest.csv",
    "emoji": "folder:{}",
    "games": "jsonl:{}/manifest.jsonl",
    "instruments": "folder:{}",
    "errands": "csv:{}/manifest.csv",
}


def write_samples(workdir: Path, seed: int) -> Path:
    """WORKDIR/samples/<corpus>/…, written once."""
    samples.write_samples(workdir / "samples", seed=seed)
    return workdir / "samples"


def build_data(workdir: Path, sample_files: Path) -> Path:
    """WORKDIR/data/<corpus>, games as TFRecord too, and the tokenizer of all their words."""
    data = workdir / "data"
    datasets = [_build(name, sample_files / name, data / name) for name in SOURCES]
    _give_tokenizer(datasets, data / "tokenizer.model")
    return data


def build_options(name: str, files: Path) -> dict[str, Any]:
    """Of a corpus whose sample files are there, for `build_dataset`."""
    source = SOURCES[name].format(files)
    options: dict[str, Any] = {"source": source, "views": list(STORED_VIEWS[name]), "name": name}
    if name == "games":
        # Two episodes may begin with one tune. What is like the others is so by its nature:
        # docs/QUICKSTART.md.
        options |= {"formats": ("tensorstore", "tfrecord"), "against": (source,)}
        options["compare"] = ("audio",)
    elif name == "emoji":
        options["caption_from"] = "stem"
    return options


def _build(name: str, files: Path, out: Path) -> Dataset:
    options = build_options(name, files)
    try:
        return build.build_dataset(out=out, **options)
    except ValueError:
        # Of samples that were written anew, or by an earlier version; else it fails again.
        return build.build_dataset(out=out, overwrite=True, **options)


def _give_tokenizer(datasets: Sequence[Dataset], path: Path) -> None:
    """One of all their words, at `path` and in each; other words are another tokenizer."""
    if path.exists():
        tokenizer = Tokenizer.load(path)
        # A dataset that was built anew holds none.
        if all(own_tokenizer.holds(dataset, tokenizer) for dataset in datasets):
            return
    tokenizer = Tokenizer.train(corpus(datasets), path, VOCAB_SIZE)
    for dataset in datasets:
        own_tokenizer.give(dataset.path, tokenizer)


def train(workdir: Path, data: Path, *, minutes: float, seed: int) -> Path:
    """Trains, or goes on; the folder of the run, whose bundle is complete."""
    run = workdir / f"run-{minutes:g}min-seed{seed}"
    aim = max(0.2, minutes - _MINUTES_BESIDE_TRAINING)
    options = ["--minutes", f"{aim:g}", "--seed", seed, "--cache", workdir / "compiled"]
    _call("imp_train.cli", "run", "quickstart", "--data", data, "--workdir", run, *options)
    if not (run / "bundle").exists():
        raise KeyboardInterrupt  # Training saved and left on SIGINT, which we share with it.
    return run


@contextlib.contextmanager
def serve(bundle: Path, cache: Path) -> Iterator[str]:
    """The address of a server of `bundle`, in a process of its own while the block runs."""
    port_file = bundle.parent / "port"
    port_file.unlink(missing_ok=True)
    options = [
        "--bundle",
        bundle,
        "--port",
        0,
        "--port-file",
        port_file,
        "--compilation-cache",
        cache,
    ]
    process = subprocess.Popen(_command("imp_eval.cli", "serve", *options))
    try:
        deadline = time.monotonic() + _SERVER_SECONDS
        while not port_file.exists():
            if (status := process.poll()) is not None:
                raise subprocess.CalledProcessError(status, "imp_eval.cli serve")
            if time.monotonic() > deadline:
                raise ConnectionError(f"the server was not ready after {_SERVER_SECONDS} s")
            time.sleep(0.1)
        yield f"127.0.0.1:{port_file.read_text().strip()}"
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        port_file.unlink(missing_ok=True)


def name_of(error: subprocess.CalledProcessError) -> str:
    """Which of our commands it was, such as "imp_train.cli run"."""
    words = error.cmd if isinstance(error.cmd, list) else str(error.cmd).split()
    return " ".join([w for w in words if not w.startswith(("-", "/"))][:2])


def _command(module: str, *arguments: object) -> list[str]:
    return [sys.executable, "-P", "-m", module, *map(str, arguments)]


def _call(module: str, *arguments: object) -> None:
    process = subprocess.Popen(_command(module, *arguments))
    try:
        status = process.wait()
    except KeyboardInterrupt:
        # From a terminal it has the signal already, else not; it saves before it leaves.
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=1)
        process.send_signal(signal.SIGTERM)
        process.wait()
        raise
    if status:
        raise subprocess.CalledProcessError(status, _command(module, *arguments))
