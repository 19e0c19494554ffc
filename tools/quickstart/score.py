"""Evaluation on held-out files, all of it through the running service as any client would do it."""

import dataclasses
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
from tqdm import tqdm

from imp_data import sources
from imp_eval import retrieval, zero_shot
from imp_eval.client import Client, Input, ItemFailure, read_file, text
from imp_train.experiments.quickstart import EMOJI_PROMPTS, GAME_PROMPTS, SOUND_PROMPTS
from quickstart.stages import SOURCES

_CHUNK = 32
_MODALITY = {
    "icons": "image",
    "emoji": "image",
    "games": "video",
    "instruments": "audio",
    "errands": "video",
}
Answer = TypeVar("Answer")


@dataclasses.dataclass(frozen=True)
class Item:
    """A held-out file and what is true of it."""

    path: Path
    caption: str
    label: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """One figure of the report; `chance` is what random answers get."""

    benchmark: str
    modality: str
    metric: str
    value: float
    chance: float
    n: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shown:
    """A query of the gallery: text or a file, and the files found for it, best first."""

    title: str
    query: str | Path
    found: tuple[tuple[Path, bool], ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Results:
    rows: list[Row]
    gallery: list[Shown]


def held_out(samples: Path) -> dict[str, list[Item]]:
    """The test files of each corpus."""
    return {
        name: [
            Item(Path(item.path), item.texts[0], next(iter(item.labels), ""))
            for item in sources.read(
                spec.format(samples / name), modalities=[_MODALITY[name]], caption_from="stem"
            )
            if item.split == "test"
        ]
        for name, spec in SOURCES.items()
    }


def evaluate(address: str, samples: Path) -> Results:
    """Every benchmark and the gallery. Raises ConnectionError if nothing answers at `address`."""
    items = held_out(samples)
    work = sum(map(len, items.values())) + 2 * len(items["games"])
    with Client(address, connect_timeout=30) as client, tqdm(total=work, unit="file") as bar:
        rows, gallery = [], []
        for name, modality, prompts in (
            ("games", "video", GAME_PROMPTS),
            ("games", "audio", GAME_PROMPTS),
            ("instruments", "audio", SOUND_PROMPTS),
            ("emoji", "image", EMOJI_PROMPTS),
        ):
            rows += _classify(client, name, items[name], modality, prompts, bar.update)
        for name, modality in (("icons", "image"), ("errands", "video")):
            found, shown = _by_text(client, name, items[name], modality, bar.update)
            rows += found
            gallery += shown
        found, shown = _by_sound(client, items["games"], bar.update)
        return Results(rows=rows + found, gallery=gallery + shown)


def _classify(
    client: Client,
    name: str,
    items: Sequence[Item],
    modality: str,
    prompts: Sequence[str],
    advance: Callable[[int], object],
) -> list[Row]:
    """Zero-shot: class names in prompts against each file."""
    labels = sorted({item.label for item in items})
    names = [label.replace("-", " ") for label in labels]
    scores = np.zeros((len(items), len(labels)))
    for start in range(0, len(items), _CHUNK):
        chunk = items[start : start + _CHUNK]
        inputs = [read_file(item.path, modality) for item in chunk]
        answers = client.classify(inputs, names, templates=prompts, top_k=len(names))
        for i, (item, answer) in enumerate(zip(chunk, answers, strict=True)):
            for class_name, probability in _whole(item, answer):
                scores[start + i, names.index(class_name)] = probability
        advance(len(chunk))
    truth = np.array([labels.index(item.label) for item in items])
    result = zero_shot.score(scores, truth)
    benchmark = f"{name} zero-shot"
    return [
        Row(
            benchmark=benchmark,
            modality=modality,
            metric=metric,
            value=value,
            chance=chance,
            n=len(items),
        )
        for metric, value, chance in (
            ("top-1", result.top_1, result.chance_top_1),
            ("top-5", result.top_5, result.chance_top_5),
        )
    ]


def _by_text(
    client: Client,
    name: str,
    items: Sequence[Item],
    modality: str,
    advance: Callable[[int], object],
) -> tuple[list[Row], list[Shown]]:
    """Text against files, both ways, over distinct captions; some queries for the gallery."""
    captions = sorted({item.caption for item in items})
    files = _embed(client, [read_file(i.path, modality) for i in items], "text", items, advance)
    texts = _embed(client, [text(c) for c in captions], modality, captions, lambda n: None)
    relevant = retrieval.same([item.caption for item in items], captions)
    rows = [
        *_retrieval_rows(f"{name} {modality}→text", modality, files @ texts.T, relevant),
        *_retrieval_rows(f"{name} text→{modality}", "text", texts @ files.T, relevant.T),
    ]
    # Through the index as a product would: upsert, then search by text.
    client.create_collection(name, modality, "text")
    for start in range(0, len(items), _CHUNK):
        rows_of = range(start, min(start + _CHUNK, len(items)))
        client.upsert(name, {str(i): files[i] for i in rows_of})
    shown = []
    for caption in random.Random(1).sample(captions, 6):
        hits = [int(hit.id) for hit in client.search(name, text(caption), k=6)]
        found = tuple((items[i].path, items[i].caption == caption) for i in hits)
        shown.append(Shown(title=f"text → {modality}", query=caption, found=found))
    return rows, shown


def _by_sound(
    client: Client, items: Sequence[Item], advance: Callable[[int], object]
) -> tuple[list[Row], list[Shown]]:
    """A clip's sound against the frames of the other clips: is the first one of the same game?"""
    sounds = _embed(client, [read_file(i.path, "audio") for i in items], "video", items, advance)
    videos = _embed(client, [read_file(i.path, "video") for i in items], "audio", items, advance)
    labels = [item.label for item in items]
    relevant = retrieval.same(labels, labels)
    scores = sounds @ videos.T
    # The clip itself is no answer: its own frames go last, and do not count as relevant.
    np.fill_diagonal(scores, scores.min() - 1)
    np.fill_diagonal(relevant, False)
    result = retrieval.score(scores, relevant)
    chance = relevant.sum(1).mean() / (len(items) - 1)
    row = Row(
        benchmark="games audio→video",
        modality="audio",
        metric="P@1",
        value=result.precision_at_1,
        chance=float(chance),
        n=len(items),
    )
    shown = []
    for i in random.Random(2).sample(range(len(items)), 5):
        best = np.argsort(-scores[i], kind="stable")[:6]
        found = tuple((items[j].path, labels[j] == labels[i]) for j in best)
        shown.append(Shown(title=f"sound of {labels[i]} → video", query=items[i].path, found=found))
    return [row], shown


def _retrieval_rows(
    benchmark: str, modality: str, scores: np.ndarray, relevant: np.ndarray
) -> list[Row]:
    result = retrieval.score(scores, relevant)
    return [
        Row(
            benchmark=benchmark,
            modality=modality,
            metric=f"R@{k}",
            value=result.recall[k],
            chance=result.chance_recall[k],
            n=result.num_queries,
        )
        for k in (1, 10)
    ]


def _embed(
    client: Client,
    inputs: Sequence[Input],
    target: str,
    names: Sequence[object],
    advance: Callable[[int], object],
) -> np.ndarray:
    """float32 [n, k]."""
    vectors: list[np.ndarray] = []
    for start in range(0, len(inputs), _CHUNK):
        answers = client.embed(inputs[start : start + _CHUNK], target)
        vectors += [
            _whole(n, a) for n, a in zip(names[start : start + _CHUNK], answers, strict=True)
        ]
        advance(len(answers))
    return np.stack(vectors)


def _whole(name: object, answer: Answer | ItemFailure) -> Answer:
    """A sample that the service can't read is a fault of ours, not of a user."""
    if isinstance(answer, ItemFailure):
        raise ValueError(f"{name}: {answer.message}")
    return answer
