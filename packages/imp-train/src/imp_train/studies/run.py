"""Running a study: every arm with every seed, trained, scored and written down, once."""

import dataclasses
import hashlib
import json
import logging
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from imp_data.stores.atomic import write_file
from imp_data.stores.lock import sole_writer
from imp_model.model import Model, num_parameters
from imp_train import metrics
from imp_train.compile import use_persistent_cache
from imp_train.config import Experiment
from imp_train.initial import classifiers
from imp_train.inputs import load_datasets
from imp_train.studies import scoring
from imp_train.studies.study import Run, Score, Study, workdir_of
from imp_train.throughput import step_flops
from imp_train.train import Summary, identity, train

log = logging.getLogger(__name__)
RESULTS = "results.jsonl"


def run(study: Study, root: Path, *, seeds: int, progress: bool = True) -> list[Run]:
    """Runs what ROOT/results.jsonl lacks, and returns all runs of these seeds in order.

    Killed, it goes on where it was: within a run too. Raises ValueError for a folder that holds
    another study, or the same one of other data, and KeyboardInterrupt when told to stop.
    """
    scoring.check_installed()
    with sole_writer(root):
        done = {(own.arm, own.seed): own for own in read(root)}
        use_persistent_cache(root / "compiled")
        wanted = [(arm, seed) for seed in range(seeds) for arm in study.arms]
        bar = tqdm(wanted, desc=study.name, unit="run", disable=None if progress else True)
        for arm, seed in bar:
            experiment = study.arms[arm](seed)
            text = identity(experiment, load_datasets(experiment))
            digest = hashlib.sha256(text.encode()).hexdigest()
            if (arm, seed) not in done:
                bar.set_postfix_str(f"{arm}, seed {seed}")
                done[arm, seed] = _run(study, root, arm, seed, experiment, digest, progress)
                _write(root, list(done.values()))
            elif done[arm, seed].experiment != digest:
                raise ValueError(
                    f"{root} holds {arm} of another study or other data; choose another "
                    "--workdir, or delete it"
                )
            # What is left is the bundle, its metrics and plots.
            if (saves := workdir_of(root, arm, seed) / "checkpoints").is_dir():
                shutil.rmtree(saves)
    return [done[key] for key in wanted]


def read(root: Path) -> list[Run]:
    """Those done so far."""
    path = root / RESULTS
    lines = path.read_text().splitlines() if path.is_file() else []
    return [_from_json(json.loads(line)) for line in lines]


def _run(
    study: Study,
    root: Path,
    arm: str,
    seed: int,
    experiment: Experiment,
    digest: str,
    progress: bool,
) -> Run:
    workdir = workdir_of(root, arm, seed)
    began = time.perf_counter()
    summary: Summary | None = None
    try:
        summary = train(experiment, workdir, progress=progress)
    except FloatingPointError as error:
        # What an arm may well come to, and no less a finding.
        log.warning("%s, seed %d: %s", arm, seed, error)
    seconds = time.perf_counter() - began
    scores: tuple[Score, ...] = ()
    if summary is not None:
        if not summary.finished:
            raise KeyboardInterrupt
        scores = scoring.score(
            workdir / "bundle",
            root / "scores" / workdir.name,
            benchmarks=study.benchmarks,
            tasks=study.tasks,
            compiled=root / "compiled-scoring",
            # Where examples are routed together, an embedding is its own only alone.
            batch_size=32 if experiment.model.routing_group == "example" else 1,
        )
    records = metrics.read(workdir)
    tokens, flops = spent(experiment, [(r["task"], r["variant"]) for r in records])
    labels = classifiers(experiment, load_datasets(experiment))
    model = Model.abstract(
        experiment.model,
        pairs=experiment.pairs,
        classifiers={name: len(classes) for name, classes in labels.items()},
    )
    return Run(
        arm=arm,
        seed=seed,
        experiment=digest,
        steps=records[-1]["step"] + 1,
        tokens=tokens,
        flops=flops,
        parameters=num_parameters(model),
        seconds=seconds,
        scores=scores,
    )


def spent(experiment: Experiment, trained: Sequence[tuple[str, str]]) -> tuple[int, float]:
    """Tokens and model FLOPs of batches of these tasks and variants."""
    costs = {}
    for task in experiment.tasks:
        for variant in task.variants:
            tokens = sum(variant.tokens(experiment.model).values())
            costs[task.name, variant.name] = (tokens, step_flops(experiment.model, variant))
    each = experiment.optimizer.accumulate if not experiment.mixed else 1
    found = [costs[own] for own in trained]
    return each * sum(t for t, _ in found), each * sum(f for _, f in found)


def _write(root: Path, runs: Sequence[Run]) -> None:
    lines = [json.dumps(dataclasses.asdict(own)) + "\n" for own in runs]
    write_file(root / RESULTS, "".join(lines).encode())


def _from_json(value: dict[str, Any]) -> Run:
    scores = tuple(Score(**own) for own in value.pop("scores"))
    return Run(scores=scores, **value)
