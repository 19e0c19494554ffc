"""CIFAR-10 and CIFAR-100, the python version: a folder of pickled batches and of the names."""

import posixpath
from collections.abc import Iterator

from imp_data.sources import files
from imp_data.sources.cifar_pickle import CifarRow, load, texts
from imp_data.sources.item import Item
from imp_data.sources.table import Context, broken

# classes -> the batches of each split, the key of the labels; the file of names and its key.
_TRAIN = tuple(f"data_batch_{number}" for number in range(1, 6))
_BATCHES: dict[int, tuple[dict[str, tuple[str, ...]], str]] = {
    10: ({"train": _TRAIN, "test": ("test_batch",)}, "labels"),
    100: ({"train": ("train",), "test": ("test",)}, "fine_labels"),
}
_NAMES = {10: ("batches.meta", "label_names"), 100: ("meta", "fine_label_names")}


def read_cifar(location: str, context: Context, *, num_classes: int) -> Iterator[Item]:
    """An item a row. A batch that is not there is passed over, if another is.

    Raises FileNotFoundError, and ValueError for what is no batch: see `cifar_pickle`.
    """
    root, names = files.local(location), cifar_classes(location, num_classes=num_classes)
    splits, key = _BATCHES[num_classes]
    found = False
    for split, batches in splits.items():
        for batch in batches:
            path = posixpath.join(root, batch)
            if (status := files.status(path))[0] < 0:
                continue
            found = True
            labels = load(path, status).get(key)
            if not isinstance(labels, list):
                raise ValueError(f"{path} has no {key!r}; CIFAR-{num_classes} has")
            for row, label in enumerate(labels):
                identity = f"{batch}/{row:05d}"
                if not isinstance(label, int) or not 0 <= label < len(names):
                    problem = f"label {label!r} must be within 0..{len(names) - 1}"
                    yield broken(identity, path, problem, split)
                    continue
                yield Item(
                    id=identity,
                    path=path,
                    labels=(names[label],),
                    split=split,
                    payload=CifarRow(row=row),
                )
    if not found:
        raise FileNotFoundError(f"no batch of CIFAR-{num_classes} in {root}; write the folder")


def cifar_classes(location: str, *, num_classes: int) -> tuple[str, ...]:
    """The names in the order of their numbers, "_" read as a space."""
    file, key = _NAMES[num_classes]
    path = posixpath.join(files.local(location), file)
    if (status := files.status(path))[0] < 0:
        raise FileNotFoundError(f"no file {path}: the names of CIFAR-{num_classes} lie there")
    names = texts(load(path, status).get(key))
    if len(names) != num_classes:
        raise ValueError(f"{path} names {len(names)} classes; CIFAR-{num_classes} has as many")
    return tuple(name.replace("_", " ") for name in names)
