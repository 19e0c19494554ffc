"""Look at a dataset: counts, words, labels, rejects, and a contact sheet of what training sees."""

import collections
import pathlib

import numpy as np
from PIL import Image, ImageDraw

from imp_data import own_tokenizer
from imp_data.datasets import Dataset
from imp_data.stores.rows import Rows
from imp_data.views import AudioView, ImageView, VideoView, View
from imp_data.wording import count

_COLUMNS, _ROWS = 6, 3
_CELL, _CAPTION = 128, 14
_FRAMES_SHOWN = 4
_LABELS_SHOWN = 20


def describe(dataset: Dataset) -> str:
    """Several lines for a terminal."""
    lines = [f"{dataset.name}: {' + '.join(dataset.modalities)} at {dataset.path}"]
    lines.append("views    " + ", ".join(view.key for view in dataset.views))
    lines.append("formats  " + ", ".join(dataset.formats))
    size = sum(file.num_bytes for shard in dataset.manifest.shards for file in shard.files)
    lines.append(f"size     {size / 2**20:.1f} MiB in {len(dataset.manifest.shards)} shards")
    if (tokenizer := own_tokenizer.load(dataset)) is not None:
        lines.append(f"tokens   {own_tokenizer.FILE}, {tokenizer.vocab_size} pieces")
    for split, number in dataset.num_examples.items():
        lines.append(f"{split:8} " + count(number, "example", "examples"))
        words: collections.Counter[int] = collections.Counter()
        labels: collections.Counter[str] = collections.Counter()
        distinct: set[str] = set()
        for example in dataset.examples(split):
            words.update(len(text.split()) for text in example.texts)
            distinct.update(example.texts)
            labels.update([dataset.label_names[label] for label in example.labels] or ["(none)"])
        if words:
            lines.append(
                f"         {words.total()} captions, {len(distinct)} distinct, "
                f"words {min(words)} to {max(words)}, median {_median(words)}"
            )
        if dataset.label_names:
            lines.append("         " + _histogram(labels))
    rejects = dict(dataset.manifest.rejects)
    lines.append(f"rejects  {sum(rejects.values())}")
    lines += [f"         {number} {reason}" for reason, number in sorted(rejects.items())]
    if dataset.manifest.HasField("near_duplicates"):
        dropped = dict(dataset.manifest.near_duplicates.dropped)
        total = sum(dropped.values())
        lines.append("dropped  " + count(total, "near duplicate", "near duplicates"))
        lines += [f"         {number} {reason}" for reason, number in sorted(dropped.items())]
        if dataset.manifest.near_duplicates.label_conflicts:
            lines.append("         " + label_conflicts(dataset))
    return "\n".join(lines)


def label_conflicts(dataset: Dataset) -> str:
    """How many dropped examples have another label than what they are like."""
    conflicts = dataset.manifest.near_duplicates.label_conflicts
    return count(
        conflicts,
        "of them differs in label from what it is like",
        "of them differ in label from what they are like",
    )


def _median(counts: collections.Counter[int]) -> int:
    """The lower one of two."""
    seen = 0
    for value in sorted(counts):
        seen += counts[value]
        if 2 * seen >= counts.total():
            return value
    raise ValueError("nothing was counted")


def _histogram(counts: collections.Counter[str]) -> str:
    shown = ", ".join(f"{name} {number}" for name, number in counts.most_common(_LABELS_SHOWN))
    more = len(counts) - _LABELS_SHOWN
    return shown + (f", and {more} labels more" if more > 0 else "")


def contact_sheet(dataset: Dataset, path: pathlib.Path, *, split: str | None = None) -> None:
    """Writes a PNG: up to 18 examples, each view of it, and its caption or label.

    Raises ValueError for a dataset without arrays to show.
    """
    if "tensorstore" not in dataset.formats:
        raise ValueError("a contact sheet needs tensorstore; build with --format both")
    split = split or next(iter(dataset.num_examples))
    dataset.check_split(split)
    count = min(_COLUMNS * _ROWS, dataset.num_examples[split])
    index = np.unique(np.linspace(0, dataset.num_examples[split] - 1, count).astype(np.int64))
    arrays = {view: Rows(dataset, split, view).read(index) for view in dataset.views}
    examples = dataset.examples(split).read(index)
    width = max(sum(_width(view) for view in dataset.views), _CELL)
    columns = max(1, _COLUMNS * _CELL // width)
    rows = -(-len(index) // columns)
    sheet = Image.new("RGB", (columns * width, rows * (_CELL + _CAPTION)), "white")
    pen = ImageDraw.Draw(sheet)
    for place, example in enumerate(examples):
        left, top = place % columns * width, place // columns * (_CELL + _CAPTION)
        labels = [dataset.label_names[label] for label in example.labels]
        words = " | ".join(example.texts or labels) or example.id
        pen.text((left + 2, top + 1), words[: width // 6], fill="black")
        for view in dataset.views:
            for picture in _pictures(view, arrays[view][place]):
                sheet.paste(picture, (left, top + _CAPTION))
                left += picture.width
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path, "PNG")


def _width(view: View) -> int:
    return _FRAMES_SHOWN * _CELL if isinstance(view, VideoView) else _CELL


def _pictures(view: View, array: np.ndarray) -> list[Image.Image]:
    """A view's array as pictures of one cell each."""
    if isinstance(view, AudioView):
        low, high = float(array.min()), float(array.max())
        levels = (array - low) / max(high - low, 1e-6) * 255
        # Time runs to the right, frequency upwards.
        frames = [np.repeat(levels.T[::-1, :, None], 3, axis=2).astype(np.uint8)]
    elif isinstance(view, VideoView):
        shown = np.linspace(0, view.frames - 1, _FRAMES_SHOWN).astype(int)
        frames = [array[i] for i in shown]
    else:
        assert isinstance(view, ImageView)
        frames = [array]
    return [Image.fromarray(np.ascontiguousarray(f)).resize((_CELL, _CELL)) for f in frames]
