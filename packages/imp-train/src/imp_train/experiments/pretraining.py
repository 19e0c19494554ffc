"""The paper's pretraining (IMP section 4.1): every kind of task, three sizes of each picture."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from imp_data.views import ImageView, VideoView
from imp_model.config import size
from imp_train.config import Experiment, OptimizerConfig
from imp_train.experiments import corpora
from imp_train.experiments.resolutions import AUDIO, CAPTION_LENGTH, FPS, FRAMES, Resolutions
from imp_train.sampler import Multinomial


def pretraining(
    name: str,
    data: Path,
    *,
    model: str | None = None,
    batch: int | None = None,
    steps: int | None = None,
    resolution: int = 256,
    datasets: Sequence[str] = tuple(corpora.TASKS),
    recipe: str = "paper",
    seed: int = 0,
) -> Experiment:
    """The paper's pretraining: every kind of task, images and video in three resolutions each.

    `name` is a size of `imp_model.config.SIZES`, unless `model` is another (IMP section 4.1).
    `data` holds one dataset for each of `datasets`, and tokenizer.model. `batch` counts examples of
    256 visible tokens: images at `resolution`, video at half of it. The recipe "released" has the
    batch, the steps and the optimizer of the authors' code in place of the paper's.
    """
    corpora.check(datasets)
    if recipe not in _RECIPES:
        raise ValueError(f"recipe {recipe!r} is unknown; one of {', '.join(_RECIPES)}")
    # Rematerialised in full (section 3.1.1): it is what lets such batches fit.
    config = dataclasses.replace(size(model or name), remat="full")
    of_recipe = _RECIPES[recipe]
    steps = steps or of_recipe.steps
    large = config.width >= 1024
    resolutions = Resolutions(
        batch=batch or of_recipe.batch,
        size=resolution,
        several=True,
        caption_length=min(CAPTION_LENGTH, config.text_positions),
    )
    return Experiment(
        name=name,
        model=config,
        tasks=tuple(
            corpora.task(data, corpus, kind, resolutions)
            for corpus in datasets
            for kind in corpora.TASKS[corpus]
        ),
        steps=steps,
        optimizer=dataclasses.replace(
            of_recipe.large if large else of_recipe.base,
            # The released code's shares; the paper tells of no warm-up.
            warmup_steps=steps // 10 if large else steps // 20,
        ),
        sampler=Multinomial(),
        # "the largest available resolution that the model was trained on, i.e., 16x512x512"
        views=(
            ImageView(size=2 * resolution),
            VideoView(frames=FRAMES, size=2 * resolution, fps=FPS),
            AUDIO,
            resolutions.caption(),
        ),
        tokenizer=data / "tokenizer.model",
        seed=seed,
        checkpoint_every=1000,
        log_every=50,
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Recipe:
    batch: int
    steps: int
    base: OptimizerConfig
    large: OptimizerConfig


_ADAM = OptimizerConfig(peak_rate=1e-3)
_ADAMW = OptimizerConfig(peak_rate=1e-3, epsilon=1e-7, weight_decay=1e-4)
_RECIPES = {
    # "roughly 16B examples seen" are so many steps of the base batch.
    "paper": _Recipe(batch=65_536, steps=250_000, base=_ADAM, large=_ADAM),
    "released": _Recipe(
        batch=8_192,
        steps=500_000,
        base=_ADAMW,
        large=dataclasses.replace(_ADAMW, peak_rate=5e-4),
    ),
}
