"""Figure 3: the same tokens a batch as few large inputs, many small ones, or some dropped."""

import dataclasses

from imp_data.views import View
from imp_train.studies.corpora import TEXT, Corpora, Seen, classify, contrast
from imp_train.studies.scale import Scale
from imp_train.studies.study import Study
from imp_train.tasks import Task, Variant


def resolutions(corpora: Corpora, scale: Scale) -> Study:
    """Labelled images and videos that are stored in two sizes, one twice the other, or in three;
    the base is the middle one, or the smaller of two.

    Each arm is scored at the largest size that it has seen, as in the paper. Raises ValueError
    where nothing is stored so.
    """
    labelled = corpora.labelled()
    seen = [(own, views) for own in labelled if (views := _sizes(own))]
    if not seen:
        raise ValueError(
            "this study needs labelled images or videos stored in two sizes or three, each twice "
            f"the one before; there is {', '.join(own.name for own in labelled)}: build them with "
            "--views image-32 image-64 image-128"
        )

    def arm(*kinds: str) -> list[Task]:
        return [
            _task(own, views, kinds, make(own, scale.batch))
            for own, views in seen
            for make in (contrast, classify)
        ]

    kinds = {"base": ("base",), "+ half": ("base", "half"), "+ double": ("base", "half", "double")}
    kinds["+ DropToken"] = (*kinds["+ double"], "drop")
    return Study(
        name="resolutions",
        source="Figure 3",
        claim="more mixtures of resolution, batch size and DropToken always help",
        arms={
            name: corpora.experiment(
                scale,
                arm(*chosen),
                views=[_of(v, "double" if "double" in chosen else "base") for _, v in seen],
            )
            for name, chosen in kinds.items()
            if name != "+ half" or any(len(views) == 3 for _, views in seen)
        },
        benchmarks=tuple(own.benchmark for own, _ in seen),
    )


def _sizes(seen: Seen) -> list[View]:
    """Of the stored views the largest two or three that are each twice the one before."""
    found: list[View] = []
    for view in reversed(seen.views if seen.modality != "audio" else ()):
        if not found or _twice(found[0], view):
            found.insert(0, view)
    return found[-3:] if len(found) > 1 else []


def _twice(large: View, small: View) -> bool:
    """In height and width, and alike in all else."""
    *frames, height, width, channels = small.shape
    return large.shape == (*frames, 2 * height, 2 * width, channels)


def _of(views: list[View], kind: str) -> View:
    """DropToken is of the double size."""
    place = {"half": 0, "base": len(views) - 2, "double": -1, "drop": -1}[kind]
    return views[place]


def _task(seen: Seen, views: list[View], kinds: tuple[str, ...], task: Task) -> Task:
    """In these variants, of equal tokens."""
    batch = task.variants[0].batch_size
    sizes = {"half": 4 * batch, "base": batch, "double": batch // 4, "drop": batch}
    words = (TEXT,) if "text" in task.objective.modalities else ()
    variants = tuple(
        Variant(
            name=kind,
            views=(_of(views, kind), *words),
            batch_size=sizes[kind],
            drop={seen.modality: 0.75} if kind == "drop" else {},
        )
        for kind in kinds
        if kind != "half" or len(views) == 3
    )
    return dataclasses.replace(task, variants=variants)
