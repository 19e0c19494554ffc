"""Bundles with random weights: what serving costs does not depend on what was learned."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from imp_data.tokenizer import Tokenizer
from imp_data.views import AudioView, ImageView, TextView, VideoView, View, to_json
from imp_model import bundle
from imp_model.config import size
from imp_model.model import Model

PAIRS = (("image", "text"), ("video", "text"), ("audio", "text"))
_TINY: dict[str, View] = {
    "image": ImageView(size=32),
    "video": VideoView(frames=4, size=32, fps=8.0),
    "audio": AudioView(frames=16, num_mels=32),
    "text": TextView(length=16),
}


def write(path: Path, name: str, views: dict[str, View], *, seed: int = 0) -> Path:
    """A model of the size `name`, in float32, for `views`, the pairs of these, and a classifier."""
    config = dataclasses.replace(size(name), dtype="float32")
    tokenizer = Tokenizer.train(_captions(), None, 400)
    pairs = tuple(pair for pair in PAIRS if set(pair) <= set(views))
    classifiers = {"colours": ("red", "green", "blue")}
    sizes = {name: len(labels) for name, labels in classifiers.items()}
    bundle.save(
        path,
        Model.create(config, pairs=pairs, classifiers=sizes, seed=seed),
        pairs=pairs,
        classifiers=classifiers,
        views={modality: to_json(view) for modality, view in views.items()},
        tokenizer=tokenizer.model,
        metadata={"experiment": f"random {name}"},
    )
    return path


def tiny(path: Path, *, seed: int = 0) -> Path:
    """All four modalities in the smallest size, whose patches divide these views."""
    views = dict(_TINY)
    views["video"] = VideoView(frames=4, size=32, fps=8.0)
    return write(path, "imp-moe-tiny", views, seed=seed)


def _captions() -> Sequence[str]:
    colours, things = ("red", "green", "blue"), ("bird", "boat", "house", "tree", "dog")
    return [f"a {c} {t} number {i}" for c in colours for t in things for i in range(20)]
