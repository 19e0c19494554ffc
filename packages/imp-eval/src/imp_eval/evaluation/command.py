"""`imp-eval evaluate` scores a bundle as papers do, `imp-eval watch` each that a run exports."""

import contextlib
import logging
import pathlib
import time
from collections.abc import Iterator

from tyro.conf import Positional

from imp_eval.evaluation.spec import Spec

logger = logging.getLogger(__name__)


@contextlib.contextmanager
def _extra() -> Iterator[None]:
    """A library that serving does not need, and that is not there, is told in one line."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise ValueError(
            f"{error.name} is not installed; evaluation needs pip install 'imp-eval[evaluation]'"
        ) from error


def evaluate(
    bundle: pathlib.Path,
    out: pathlib.Path,
    benchmark: tuple[str, ...] = (),
    tasks: tuple[str, ...] = (),
    batch_size: int = 32,
    resamples: int = 1000,
    seed: int = 0,
    max_reject_share: float = 0.05,
    cache: pathlib.Path | None = None,
    compilation_cache: pathlib.Path | None = None,
) -> int:
    """Score a bundle on benchmarks: zero-shot, retrieval, linear probe, nearest neighbours.

    Writes results.json, results.md, classes/*.csv and plots/*.png; docs/EVALUATION.md says how
    each figure comes about.

    Args:
        bundle: the folder that training exported.
        out: folder of the results.
        benchmark: each [NAME=]KIND:PLACE[,key=value…], such as folder:photos, dataset:data/photos,
            imagenet:/data/imagenet, coco:captions_val2017.json,root=val2017.
        tasks: zero-shot, retrieval, linear-probe, knn; without, the first two where they suit.
        batch_size: inputs in one run of the encoder.
        resamples: of the bootstrap.
        seed: of the bootstrap, and of what a linear probe validates on.
        max_reject_share: inputs that may be no use before a benchmark is given up.
        cache: folder of what was embedded, for a rerun; OUT/features without it.
        compilation_cache: folder that keeps compiled functions, for a quicker start next time.
    """
    # Here and not above: the other commands need no jax and start in a fraction of the time.
    with _extra():
        from imp_eval.evaluation import report
        from imp_eval.evaluation.intervals import Bootstrap
        from imp_eval.evaluation.run import evaluate_bundle
        from imp_eval.inference import use_compilation_cache
        from imp_model import bundle as bundles

    specs = [Spec.parse(text) for text in benchmark]
    bootstrap = Bootstrap(num_resamples=resamples, seed=seed)
    loaded = bundles.load(bundle)
    if compilation_cache is not None:
        use_compilation_cache(compilation_cache)
    results = evaluate_bundle(
        loaded,
        specs,
        path=str(bundle),
        tasks=tasks,
        batch_size=batch_size,
        bootstrap=bootstrap,
        cache=cache or out / "features",
        max_reject_share=max_reject_share,
    )
    report.write(out, results)
    print(report.summary(results))
    for own in results.benchmarks:
        for task, reason in own.left_out.items():
            logger.info("%s: no %s (%s)", own.benchmark.name, task, reason)
        if own.problems:
            logger.warning("%s: %d inputs are no use", own.benchmark.name, len(own.problems))
    print(f"\n{out / 'results.md'}")
    return 0


def watch(
    workdir: Positional[pathlib.Path],
    benchmark: tuple[str, ...] = (),
    tasks: tuple[str, ...] = (),
    batch_size: int = 32,
    every_seconds: float = 30.0,
    once: bool = False,
    max_reject_share: float = 0.05,
) -> int:
    """Score every bundle that a run exports, until its last: imp-train run --bundle-every STEPS.

    Writes WORKDIR/eval.jsonl and WORKDIR/tensorboard/eval; started again, it goes on.

    Args:
        workdir: that of `imp-train run`.
        benchmark: as for evaluate; sample=N scores so many examples of a large one.
        tasks: as for evaluate.
        batch_size: inputs in one run of the encoder.
        every_seconds: how often to look for a new bundle.
        once: score what is there, and end.
        max_reject_share: as for evaluate.
    """
    with _extra():
        from imp_eval.evaluation.watch import watch_run
        from imp_eval.inference import use_compilation_cache

    if every_seconds <= 0:
        raise ValueError(f"--every-seconds {every_seconds} must be above 0")
    specs = [Spec.parse(text) for text in benchmark]
    if workdir.is_dir():
        # Every bundle's programs are the first one's.
        use_compilation_cache(workdir / "compiled")
    count = watch_run(
        workdir,
        specs,
        tasks=tasks,
        batch_size=batch_size,
        max_reject_share=max_reject_share,
        once=once,
        pause=lambda: time.sleep(every_seconds),
    )
    print(f"{count} bundles scored: {workdir / 'eval.jsonl'}")
    return 0
