"""Corpora: the datasets that a study runs on, whichever they are, and what tasks they make."""

import dataclasses
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from imp_data.augment import Augment
from imp_data.datasets import MANIFEST, Dataset
from imp_data.own_tokenizer import FILE as OWN_TOKENIZER
from imp_data.tokenizer import Tokenizer
from imp_data.views import TextView, View
from imp_model.config import ModelConfig, size
from imp_train.adaptive import Adaptive
from imp_train.config import Experiment, OptimizerConfig
from imp_train.objectives import NCE, SCE, Objective, Sum
from imp_train.sampler import Sampler, Stratified
from imp_train.studies.scale import Scale
from imp_train.tasks import Task, Variant

TEXT = TextView(length=16)
# By modality, a file of what class names stand in while training.
TEMPLATES: dict[str, Path] = {
    modality: Path(__file__).parent / "templates" / f"{modality}.txt"
    for modality in ("image", "video", "audio")
}
# What leaves a class and a caption as they are.
AUGMENT: dict[str, Augment] = {
    "image": Augment(crop_scale=(0.8, 1.0), brightness=0.1, contrast=0.2),
    "video": Augment(),
    "audio": Augment(audio_roll=1.0, audio_gain=0.5),
}


@dataclasses.dataclass(frozen=True)
class Seen:
    """A dataset as one of its modalities shows it."""

    dataset: Dataset
    modality: str
    views: tuple[View, ...]
    """Those to train on, the smallest first."""

    @property
    def name(self) -> str:
        return f"{self.dataset.name}/{self.modality}"

    @property
    def benchmark(self) -> str:
        """A SPEC of `imp-eval evaluate`."""
        name = re.sub(r"[^\w.-]+", "-", self.name)
        return f"{name}=dataset:{self.dataset.path},modality={self.modality}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Corpora:
    """Datasets that share a tokenizer."""

    datasets: tuple[Dataset, ...]
    tokenizer: Path

    @classmethod
    def find(cls, places: Sequence[Path]) -> "Corpora":
        """Each place is a dataset or a folder of some. Raises FileNotFoundError where none are,
        ValueError where none has a tokenizer or labels."""
        paths = [
            path
            for place in places
            for path in ([place] if (place / MANIFEST).is_file() else sorted(place.glob("*/")))
            if (path / MANIFEST).is_file()
        ]
        if not paths:
            raise FileNotFoundError(
                f"no dataset at {', '.join(map(str, places))}; build one: imp-data build --help, "
                "or take the quickstart's: --data quickstart/data"
            )
        datasets = tuple(Dataset.load(path) for path in paths)
        own = [dataset.path / OWN_TOKENIZER for dataset in datasets]
        tokenizers = [path for path in own if path.is_file()]
        if not tokenizers:
            raise ValueError(
                f"none of {', '.join(d.name for d in datasets)} holds a tokenizer; give them one: "
                "imp-data tokenizer --help"
            )
        return cls(datasets=datasets, tokenizer=tokenizers[0])

    def experiment(
        self,
        scale: Scale,
        tasks: Sequence[Task],
        *,
        model: ModelConfig | None = None,
        sampler: Sampler | Adaptive | None = None,
        views: Sequence[View] = (),
        peak_rate: float = 1e-3,
    ) -> Callable[[int], Experiment]:
        """An arm: all but the seed. `model` is another than the scale's; a bundle is served with
        `views`, by default the smallest that a modality's first task sees, and with words."""
        own = [view for task in reversed(tasks) for view in _smallest(task)]
        served: dict[str, View] = {view.modality: view for view in [*own, TEXT, *views]}
        words = Tokenizer.load(self.tokenizer).vocab_size
        model = model or size(scale.model)

        def arm(seed: int) -> Experiment:
            return Experiment(
                name="study",
                model=dataclasses.replace(model, vocab_size=max(words, model.vocab_size)),
                tasks=tuple(tasks),
                steps=scale.steps,
                optimizer=OptimizerConfig(
                    peak_rate=peak_rate, warmup_steps=scale.steps // 10, b2=0.99
                ),
                sampler=sampler or Stratified(),
                views=tuple(view for _, view in sorted(served.items())),
                tokenizer=self.tokenizer,
                seed=seed,
            )

        return arm

    def seen(self) -> list[Seen]:
        """Every dataset that holds some examples out, by modality."""
        return [
            Seen(dataset, modality, views)
            for dataset in self.datasets
            if {"train", "test"} <= set(dataset.num_examples)
            for modality in ("image", "video", "audio")
            if (views := _stored(dataset, modality))
        ]

    def captioned(self) -> list[Seen]:
        """Those whose examples have captions and no labels, which say more."""
        return [
            own
            for own in self.seen()
            if not own.dataset.label_names
            and own.dataset.num_captioned("train") == own.dataset.num_examples["train"]
        ]

    def labelled(self) -> list[Seen]:
        """Those whose examples have one label each, in the views that all of them store: a bundle
        is scored on each in one view of a modality. Raises ValueError where there is none."""
        found = [
            own
            for own in self.seen()
            if own.dataset.label_names
            and own.dataset.num_single_label("train") == own.dataset.num_examples["train"]
        ]
        if not found:
            names = ", ".join(dataset.name for dataset in self.datasets)
            raise ValueError(
                f"none of {names} has one label on each example and a split named test; "
                "name a dataset that has: --data DATASET"
            )
        return [dataclasses.replace(own, views=_shared(own, found)) for own in found]


def _stored(dataset: Dataset, modality: str) -> tuple[View, ...]:
    own = [view for view in dataset.views if view.modality == modality]
    return tuple(sorted(own, key=lambda view: view.shape))


def _shared(seen: Seen, among: Sequence[Seen]) -> tuple[View, ...]:
    others = [other for other in among if other.modality == seen.modality]
    shared = tuple(view for view in seen.views if all(view in other.views for other in others))
    if not shared:
        stored = "; ".join(
            f"{other.dataset.name}: {', '.join(view.key for view in other.views)}"
            for other in others
        )
        raise ValueError(
            f"these store no {seen.modality} alike, and are scored in one view ({stored}); "
            "build them with one that all have: --views"
        )
    return shared


def _smallest(task: Task) -> list[View]:
    by_modality: dict[str, View] = {}
    for view in (view for variant in task.variants for view in variant.views):
        other = by_modality.get(view.modality)
        if other is None or view.shape < other.shape:
            by_modality[view.modality] = view
    return list(by_modality.values())


def contrast(
    seen: Seen, batch: int, *, weight: float = 1.0, prompts: Sequence[str] | None = None
) -> Task:
    """Label-based NCE against class names in prompts, by default those of the modality."""
    return _task(seen, "label", _nce(seen, prompts), batch, weight)


def caption(seen: Seen, batch: int, *, weight: float = 1.0) -> Task:
    """NCE against captions."""
    return _task(seen, "text", NCE(source=seen.modality, target="text"), batch, weight)


def classify(seen: Seen, batch: int, *, weight: float = 1.0) -> Task:
    """Softmax over the dataset's labels."""
    return _task(seen, "class", _sce(seen), batch, weight)


def both(seen: Seen, batch: int, *, weight: float = 1.0) -> Task:
    """Their sum on one batch."""
    return _task(seen, "sum", Sum(terms=(_nce(seen), _sce(seen))), batch, weight)


def _nce(seen: Seen, prompts: Sequence[str] | None = None) -> NCE:
    if prompts is None:
        prompts = TEMPLATES[seen.modality].read_text("utf-8").splitlines()
    return NCE(source=seen.modality, target="text", texts="label", prompts=tuple(prompts))


def _sce(seen: Seen) -> SCE:
    return SCE(modality=seen.modality, classifier=seen.dataset.name)


def _task(seen: Seen, kind: str, objective: Objective, batch: int, weight: float) -> Task:
    views: tuple[View, ...] = (seen.views[0],)
    if "text" in objective.modalities:
        views += (TEXT,)
    return Task(
        name=f"{seen.name}-{kind}",
        dataset=seen.dataset.path,
        objective=objective,
        variants=(Variant(views=views, batch_size=batch),),
        weight=weight,
        augment=AUGMENT[seen.modality],
    )
