"""The paper's ablations (IMP section 4.3): one resolution, and ImageNet-21k by default."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from imp_model.config import size
from imp_train.config import Experiment, OptimizerConfig
from imp_train.experiments import corpora
from imp_train.experiments.resolutions import AUDIO, CAPTION_LENGTH, Resolutions
from imp_train.objectives import NCE, SCE, Sum
from imp_train.sampler import Multinomial, Permutation
from imp_train.tasks import Task

# Table 2's rows.
OBJECTIVES = ("alternating", "sum", "mixed", "nce", "sce")


def ablation(
    name: str,
    data: Path,
    *,
    model: str | None = None,
    batch: int = 8_192,
    steps: int = 250_000,
    resolution: int = 224,
    datasets: Sequence[str] = ("i21k",),
    objectives: str = "alternating",
    seed: int = 0,
) -> Experiment:
    """The paper's ablations: contrast and classification by turns, in one resolution (section 4.3).

    `objectives` is Table 2's row: contrast and classification of the labelled sets by turns, summed
    on one batch, or one of them alone; all at equal steps. With "mixed" a step has a batch of each
    task, which share `batch` among them. `datasets` are of
    `corpora.TASKS`; ("cc12m", "i21k", "laion400m") is Figure 2's. `model` is another size of
    `imp_model.config.SIZES`, as imp-moe-s for Figure 4.
    """
    corpora.check(datasets)
    if objectives not in OBJECTIVES:
        raise ValueError(f"objectives {objectives!r} are unknown; one of {', '.join(OBJECTIVES)}")
    kinds = [(corpus, kind) for corpus in datasets for kind in corpora.TASKS[corpus]]
    mixed = objectives == "mixed"
    config = dataclasses.replace(size(model or f"imp-{name[-1]}"), remat="full")
    resolutions = Resolutions(
        batch=batch // len(kinds) if mixed else batch,
        size=resolution,
        several=False,
        caption_length=min(CAPTION_LENGTH, config.text_positions),
    )
    tasks = [corpora.task(data, corpus, kind, resolutions) for corpus, kind in kinds]
    if objectives == "sum":
        tasks = _summed(tasks)
    elif objectives in ("nce", "sce"):
        one = {"nce": NCE, "sce": SCE}[objectives]
        tasks = [task for task in tasks if isinstance(task.objective, one)]
    return Experiment(
        name=name,
        model=config,
        tasks=tuple(tasks),
        steps=steps,
        optimizer=OptimizerConfig(
            peak_rate=1e-3, warmup_steps=steps // 20, accumulate=len(tasks) if mixed else 1
        ),
        # By turns through all tasks, so that a mixed step has one batch of each.
        sampler=Permutation() if mixed else Multinomial(),
        mixed=mixed,
        views=(resolutions.image(), resolutions.video(), AUDIO, resolutions.caption()),
        tokenizer=data / "tokenizer.model",
        seed=seed,
        checkpoint_every=1000,
        log_every=50,
    )


def _summed(tasks: Sequence[Task]) -> list[Task]:
    """Label-based NCE and SCE of one set and modality as one task on one batch."""
    named = {task.name: task for task in tasks}
    for name, task in list(named.items()):
        contrast = named.get(name.removesuffix("sce") + "label")
        if contrast is None or not name.endswith("-sce"):
            continue
        assert isinstance(contrast.objective, NCE)
        assert isinstance(task.objective, SCE)
        both = Sum(terms=(contrast.objective, task.objective))
        named[contrast.name] = dataclasses.replace(
            contrast, name=f"{contrast.name}+sce", objective=both
        )
        del named[name]
    return list(named.values())
