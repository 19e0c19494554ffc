"""UCF101: split lists of videos, classInd.txt beside them, and a folder of a folder a class."""

import posixpath
import re
from collections.abc import Iterator

from imp_data.sources import files
from imp_data.sources.item import Item
from imp_data.sources.table import Context, broken

_FOLDER, _VIDEOS, _CLASSES = "ucfTrainTestlist", "UCF-101", "classInd.txt"


def read_ucf101(location: str, context: Context) -> Iterator[Item]:
    """LISTS, such as `ucfTrainTestlist/{train,test}list02.txt`, with the videos below `root`; or
    the folder of both, whose first split is taken.

    Raises FileNotFoundError, and ValueError for a list without a video.
    """
    lists, root = _lists(location)
    names = _classes(lists)
    for path in lists:
        split = context.split or ("train" if "train" in files.base_name(path) else "test")
        videos = context.root_of(path) if context.root or root is None else root
        lines = files.read_bytes(path).decode("utf-8-sig", errors="replace").split("\n")
        entries = [(n, line.split()[0]) for n, line in enumerate(lines, start=1) if line.split()]
        if not entries:
            raise ValueError(f"{path} lists no video")
        for number, name in entries:
            place, label = files.below(videos, name), posixpath.dirname(name)
            if place is None or label not in names:
                problem = f"{name!r} is of no class that {_CLASSES} names"
                yield broken(f"{files.base_name(path)}:{number}", path, problem, split)
                continue
            yield Item(id=name, path=place, labels=(names[label],), split=split)


def ucf101_classes(location: str) -> tuple[str, ...]:
    """The names in the order of classInd.txt."""
    return tuple(_classes(_lists(location)[0]).values())


def _lists(location: str) -> tuple[list[str], str | None]:
    """The list files, and where the videos lie if the place tells."""
    root = files.local(location)
    if not files.is_folder(root):
        return files.expand(location), None
    pattern = posixpath.join(root, _FOLDER, "{train,test}list01.txt")
    return files.expand(pattern), posixpath.join(root, _VIDEOS)


def _classes(lists: list[str]) -> dict[str, str]:
    """A class's folder -> its name in words: ApplyEyeMakeup -> apply eye makeup."""
    path = posixpath.join(files.parent(lists[0]), _CLASSES)
    if files.status(path)[0] < 0:
        raise FileNotFoundError(f"no file {path}: it names UCF101's classes")
    lines = files.read_bytes(path).decode("utf-8-sig", errors="replace").splitlines()
    found = [line.split()[-1] for line in lines if len(line.split()) == 2]
    return {name: " ".join(re.findall(r"[A-Z][a-z]*|[^A-Z]+", name)).lower() for name in found}
