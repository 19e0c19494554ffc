"""Benchmark: what a SPEC stands for: examples by split, their classes, how papers score them."""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from imp_data import sources
from imp_data.datasets import Dataset
from imp_data.sources import Item
from imp_data.views import View
from imp_eval import prompts
from imp_eval.evaluation.examples import Examples, Files, Stored, check_stored
from imp_eval.evaluation.spec import OWN_KINDS, Spec

_MODALITIES = ("image", "video", "audio")
_TESTS = ("test", "val", "validation", "validate")
_SAMPLE_SEED = 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Protocol:
    """What papers do with a layout. `max_texts` captions of an item are taken; `by_pair` counts an
    item's own captions alone as right, where else equal words are."""

    modality: str | None = None
    prompts: str | None = None
    max_texts: int | None = None
    by_pair: bool = False
    test: tuple[str, ...] = ()


_PHOTOS = Protocol(modality="image", prompts="photo")
_ACTIONS = Protocol(modality="video", prompts="action")
_CAPTIONED = Protocol(modality="image", max_texts=5, by_pair=True)
PROTOCOLS: dict[str, Protocol] = {
    "imagenet": _PHOTOS,
    "cifar10": _PHOTOS,
    "cifar100": _PHOTOS,
    "kinetics": _ACTIONS,
    "ucf101": _ACTIONS,
    "hmdb51": _ACTIONS,
    "esc50": Protocol(modality="audio", prompts="sound", test=("*",)),
    "audioset": Protocol(modality="audio", prompts="sound"),
    "coco": _CAPTIONED,
    "karpathy": _CAPTIONED,
    "flickr30k": _CAPTIONED,
    "msrvtt": Protocol(modality="video", by_pair=True),
}


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Part:
    """Examples of one or more splits. `labels` are indices of classes; `folds` int [n] are the
    splits' numbers. Equal only to itself."""

    examples: Examples
    labels: tuple[tuple[int, ...], ...]
    texts: tuple[tuple[str, ...], ...]
    folds: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def multi_label(self) -> bool:
        return any(len(own) > 1 for own in self.labels)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Benchmark:
    """`class_names` are as prompts show them. Of `num_listed` inputs of all splits, `problems` are
    ids and reasons of those that are known to be no use."""

    name: str
    spec: str
    modalities: tuple[str, ...]
    class_names: tuple[str, ...]
    test: Part
    train: Part | None
    val: Part | None
    templates: Mapping[str, tuple[str, ...]]
    num_clips: int
    max_texts: int | None
    by_pair: bool
    num_listed: int
    problems: tuple[tuple[str, str], ...]


def make(spec: Spec, views: Mapping[str, View]) -> Benchmark:
    """Lists what lies there, for a bundle of these views; nothing is decoded.

    Raises FileNotFoundError, and ValueError for a place that is no use, holds nothing that the
    bundle takes, or lacks a split that the SPEC names.
    """
    protocol = PROTOCOLS.get(spec.kind, Protocol())
    wanted = spec.modality or ((protocol.modality,) if protocol.modality else ())
    for modality in wanted:
        if modality not in _MODALITIES or modality not in views:
            known = ", ".join(m for m in _MODALITIES if m in views)
            raise ValueError(f"{spec.text}: no {modality} in this bundle; it takes {known}")
    listing = (
        _stored(spec, wanted, views) if spec.kind == "dataset" else _listed(spec, wanted, views)
    )
    splits = tuple(dict.fromkeys(listing.splits))
    tests = _tests(spec, protocol, splits)
    train = spec.train or (("train",) if "train" in splits and "train" not in tests else ())
    known_vals = [name for name in _TESTS[1:] if name in splits and name not in {*tests, *train}]
    val = spec.val or tuple(known_vals[:1])
    for name in {*tests, *train, *val} - set(splits):
        raise ValueError(f"{spec.text}: no split {name!r}; there are {', '.join(splits)}")
    for one, other, how in (
        (train, tests, "trained on and scored"),
        (train, val, "trained on and validated by"),
        (val, tests, "validated by and scored"),
    ):
        if shared := set(one) & set(other):
            raise ValueError(f"{spec.text}: split {min(shared)!r} is both {how}")
    return Benchmark(
        name=spec.name,
        spec=spec.text,
        modalities=listing.modalities,
        class_names=listing.names,
        test=listing.part(tests, sample=spec.sample),
        train=listing.part(train) if train else None,
        val=listing.part(val) if val else None,
        templates={m: _templates(spec.prompts or protocol.prompts, m) for m in listing.modalities},
        num_clips=spec.clips,
        max_texts=protocol.max_texts,
        by_pair=protocol.by_pair,
        num_listed=len(listing.splits) + len(listing.problems),
        problems=listing.problems,
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Listing:
    """All examples of a source, with the split of each."""

    examples: Examples
    splits: tuple[str, ...]
    labels: tuple[tuple[int, ...], ...]
    texts: tuple[tuple[str, ...], ...]
    names: tuple[str, ...]
    modalities: tuple[str, ...]
    problems: tuple[tuple[str, str], ...] = ()

    def part(self, names: Sequence[str], *, sample: int | None = None) -> Part:
        rows = [i for i, split in enumerate(self.splits) if split in names]
        if sample is not None and sample < len(rows):
            rng = np.random.default_rng(_SAMPLE_SEED)
            rows = sorted(rng.choice(rows, sample, replace=False).tolist())
        return Part(
            examples=self.examples.only(rows),
            labels=tuple(self.labels[i] for i in rows),
            texts=tuple(self.texts[i] for i in rows),
            folds=np.array([names.index(self.splits[i]) for i in rows], np.int64),
        )


def _listed(spec: Spec, wanted: tuple[str, ...], views: Mapping[str, View]) -> _Listing:
    items, modalities = _read(spec, wanted, views)
    good = [item for item in items if item.problem is None]
    if not good:
        raise ValueError(
            f"{spec.text}: {items[0].id}: {items[0].problem}; nothing is left to score"
        )
    classes = sources.classes(f"{spec.kind}:{spec.place}") or _sorted(
        {x for i in good for x in i.labels}
    )
    index = {name: number for number, name in enumerate(classes)}
    return _Listing(
        examples=Files(good),
        splits=tuple(item.split for item in good),
        labels=tuple(tuple(index[name] for name in item.labels) for item in good),
        texts=tuple(item.texts for item in good),
        names=tuple(_spoken(name) for name in classes) if spec.kind in OWN_KINDS else classes,
        modalities=modalities,
        problems=tuple((i.id, i.problem) for i in items if i.problem is not None),
    )


def _read(
    spec: Spec, wanted: tuple[str, ...], views: Mapping[str, View]
) -> tuple[list[Item], tuple[str, ...]]:
    """The items, and their modalities: where none is wanted the first that any file suits."""
    if spec.captions not in (None, "stem"):
        raise ValueError(f"{spec.text}: captions {spec.captions!r} must be stem")
    choices = [wanted] if wanted else [(m,) for m in _MODALITIES if m in views]
    problem: ValueError | None = None
    for modalities in choices:
        try:
            items = sources.read(
                f"{spec.kind}:{spec.place}",
                modalities=modalities,
                root=spec.root,
                caption_from="stem" if spec.captions else None,
            )
        except FileNotFoundError:
            raise
        except ValueError as error:
            problem = problem or error
            continue
        if modalities is choices[-1] or any(item.problem is None for item in items):
            return items, modalities
    raise problem or ValueError(f"{spec.text}: the bundle takes neither image, video nor audio")


def _stored(spec: Spec, wanted: tuple[str, ...], views: Mapping[str, View]) -> _Listing:
    dataset = Dataset.load(pathlib.Path(spec.place).expanduser())
    held = [m for m in _MODALITIES if m in dataset.modalities and m in views]
    modalities = wanted or tuple(held[:1])
    if not modalities:
        raise ValueError(f"{spec.text}: holds {', '.join(dataset.modalities)}, not for this bundle")
    for modality in modalities:
        check_stored(dataset, views[modality])
    rows, labels, texts, splits = [], [], [], []
    for split in dataset.num_examples:
        for row, example in enumerate(dataset.examples(split)):
            rows.append((split, row))
            labels.append(example.labels)
            texts.append(example.texts)
            splits.append(split)
    return _Listing(
        examples=Stored(dataset, rows),
        splits=tuple(splits),
        labels=tuple(labels),
        texts=tuple(texts),
        names=tuple(_spoken(name) for name in dataset.label_names),
        modalities=modalities,
    )


def _tests(spec: Spec, protocol: Protocol, splits: tuple[str, ...]) -> tuple[str, ...]:
    chosen = spec.test or protocol.test
    if chosen == ("*",):
        return tuple(sorted(splits))
    if chosen:
        return chosen
    found = [name for name in _TESTS if name in splits] or (splits if len(splits) == 1 else ())
    if not found:
        raise ValueError(f"{spec.text}: choose test= among its splits {', '.join(splits)}")
    return tuple(found[:1])


def _templates(name: str | None, modality: str) -> tuple[str, ...]:
    """A set by its name, the lines of a file, or what suits the modality."""
    if name is None:
        return prompts.TEMPLATES[modality]
    if name in prompts.ENSEMBLES:
        return prompts.ENSEMBLES[name]
    path = pathlib.Path(name).expanduser()
    if not path.is_file():
        known = ", ".join(prompts.ENSEMBLES)
        raise ValueError(f"prompts {name!r} are neither a file nor one of {known}")
    lines = path.read_text("utf-8-sig").splitlines()
    templates = tuple(line.strip() for line in lines if line.strip())
    prompts.fill(templates, ["checked"])
    return templates


def _spoken(name: str) -> str:
    """A folder's name in words, as training shows it."""
    return name.replace("_", " ").replace("-", " ")


def _sorted(names: set[str]) -> tuple[str, ...]:
    """Numbers by value."""
    if all(name.isdecimal() for name in names):
        return tuple(sorted(names, key=lambda name: (int(name), name)))
    return tuple(sorted(names))
