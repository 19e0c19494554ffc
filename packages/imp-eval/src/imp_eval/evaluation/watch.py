"""Scores of a run as it goes on: each bundle that training exports, once.

`imp-train run --bundle-every N` writes WORKDIR/bundles/step-NNNNNNNN, and WORKDIR/bundle
at its end.
WORKDIR/eval.jsonl has a line a bundle and benchmark, and says what is done; TensorBoard shows the
same under WORKDIR/tensorboard/eval.
"""

import contextlib
import json
import logging
import os
import pathlib
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.summary import scalar

from imp_eval.evaluation.intervals import Bootstrap
from imp_eval.evaluation.report import summary
from imp_eval.evaluation.results import Score
from imp_eval.evaluation.run import Results, check, evaluate_bundle
from imp_eval.evaluation.spec import Spec
from imp_model import bundle as bundles

RECORD = "eval.jsonl"
_RUN = "experiment.json"
logger = logging.getLogger(__name__)


def exported(workdir: pathlib.Path) -> list[pathlib.Path]:
    """The whole bundles of a run, in order of their steps, the final one last."""
    found = sorted(p for p in (workdir / "bundles").glob("step-*") if (p / "bundle.json").is_file())
    last = workdir / "bundle"
    return [*found, *([last] if (last / "bundle.json").is_file() else [])]


def finished(workdir: pathlib.Path) -> bool:
    """Whether the run's final bundle is there: no other will come."""
    return (workdir / "bundle" / "bundle.json").is_file()


def scored(workdir: pathlib.Path, tasks: Sequence[str] = ()) -> set[tuple[str, str]]:
    """(bundle's digest, SPEC) of what eval.jsonl holds by these tasks; by all of them where none
    is named. A line that a kill cut short is none."""
    path = workdir / RECORD
    if not path.is_file():
        return set()
    done = set()
    for line in path.read_text("utf-8").splitlines():
        try:
            record = json.loads(line)
            own = record.get("tasks")
            if not own or (tasks and set(tasks) <= set(own)):
                done.add((record["bundle"], record["spec"]))
        except (ValueError, LookupError, TypeError):
            continue
    return done


def watch_run(
    workdir: pathlib.Path,
    specs: Sequence[Spec],
    *,
    tasks: Sequence[str] = (),
    batch_size: int = 32,
    max_reject_share: float = 0.05,
    once: bool = False,
    pause: Callable[[], object] = lambda: time.sleep(30),
    progress: bool = True,
) -> int:
    """Scores what is there and what comes, until the run's final bundle is scored; how many it did.

    `once` ends with what is there; `pause` waits for more. Raises FileNotFoundError for no workdir,
    and what `evaluate_bundle` does.
    """
    check(specs, tasks)
    if not workdir.is_dir():
        raise FileNotFoundError(f"no folder {workdir}; give the --workdir of `imp-train run`")
    # An empty folder may be of a run that is about to begin; a folder of runs is none.
    if not (workdir / _RUN).is_file() and (below := sorted(workdir.glob(f"*/{_RUN}"))):
        raise FileNotFoundError(f"no run at {workdir}; {below[0].parent} is one: name that")
    count = 0
    folder = workdir / "tensorboard" / "eval"
    folder.mkdir(parents=True, exist_ok=True)
    # SummaryWriter's thread, once a full disk has ended it, would be waited for without end.
    with contextlib.closing(EventsWriter(str(folder / "events"), f".{os.getpid()}")) as board:
        while True:
            last = finished(workdir)
            for path in exported(workdir):
                results = _score(
                    workdir, path, specs, tasks, batch_size, max_reject_share, progress
                )
                if results is not None:
                    count += 1
                    _show(board, results)
            if once or last:
                return count
            pause()


def _score(
    workdir: pathlib.Path,
    path: pathlib.Path,
    specs: Sequence[Spec],
    tasks: Sequence[str],
    batch_size: int,
    max_reject_share: float,
    progress: bool,
) -> Results | None:
    """None where every benchmark of this bundle is done, or it is gone."""
    done = scored(workdir, tasks)
    try:
        digest = bundles.digest_of(path)
        missing = [spec for spec in specs if (digest, spec.text) not in done]
        if not missing:
            return None
        bundle = bundles.load(path)
    except FileNotFoundError:
        # Deleted, or a resumed run is writing it again: the next look will tell.
        logger.info("%s is gone for now", path)
        return None
    results = evaluate_bundle(
        bundle,
        missing,
        path=str(path),
        tasks=tasks,
        batch_size=batch_size,
        bootstrap=Bootstrap(),
        max_reject_share=max_reject_share,
        progress=progress,
    )
    _append(workdir / RECORD, results, tasks)
    logger.info("step %s of %s\n%s", results.metadata.get("step"), path, summary(results))
    return results


def _append(path: pathlib.Path, results: Results, tasks: Sequence[str]) -> None:
    """A line a benchmark; on disk before this returns."""
    lines = []
    for own in results.benchmarks:
        scores = [score for task in own.tasks for score in task.scores]
        record: dict[str, Any] = {
            "step": results.metadata.get("step"),
            "bundle": results.digest,
            "benchmark": own.benchmark.name,
            "spec": own.benchmark.spec,
            "tasks": list(tasks),
            "scores": {tag(score): [score.value, score.low, score.high] for score in scores},
            "n": {tag(score): score.n for score in scores},
        }
        lines.append(json.dumps(record, ensure_ascii=False) + "\n")
    with path.open("ab+") as file:
        # What a kill left of a line is ended, and ours begins on its own.
        if file.tell() and not _ends_line(path):
            file.write(b"\n")
        file.write("".join(lines).encode())
        file.flush()
        os.fsync(file.fileno())


def _ends_line(path: pathlib.Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"


def tag(score: Score) -> str:
    """What the metric is called below its benchmark, in TensorBoard's characters: zero-shot/image/
    top-1, retrieval/text-to-image/R1."""
    words = f"{score.task}/{score.modality}/{score.metric}"
    return words.replace("→", "-to-").replace("@", "")


def _show(board: EventsWriter, results: Results) -> None:
    step = int(str(results.metadata.get("step", 0)))
    for name, value in _scalars(results.scores):
        board.write_event(Event(step=step, wall_time=time.time(), summary=scalar(name, value)))
    board.flush()


def _scalars(scores: Sequence[Score]) -> Iterator[tuple[str, float]]:
    for score in scores:
        yield f"eval/{score.benchmark}/{tag(score)}", score.value
