"""`imp-eval evaluate`: one bundle, scored on benchmarks as papers do."""

import logging
import pathlib

from imp_eval.evaluation.spec import Spec

logger = logging.getLogger(__name__)


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
    """
    # Here and not above: the other commands need no jax and start in a fraction of the time.
    from imp_eval.evaluation import report
    from imp_eval.evaluation.intervals import Bootstrap
    from imp_eval.evaluation.run import evaluate_bundle
    from imp_eval.inference import use_compilation_cache
    from imp_model import bundle as bundles

    specs = [Spec.parse(text) for text in benchmark]
    bootstrap = Bootstrap(num_resamples=resamples, seed=seed)
    loaded = bundles.load(bundle)
    use_compilation_cache(out / "compiled")
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
