"""HMDB51: CLASS_test_splitN.txt, each line a video and 1 (train), 2 (test) or 0 (neither)."""

import posixpath
import re
from collections.abc import Iterator

from imp_data.sources import files
from imp_data.sources.item import Item
from imp_data.sources.table import Context, broken

_NAME = re.compile(r"(.+)_test_split[123]\.txt")
_SPLITS = {"1": "train", "2": "test"}


def read_hmdb51(location: str, context: Context) -> Iterator[Item]:
    """SPLITS, such as `splits/*_test_split1.txt`; a class's videos lie in its folder below `root`.

    Raises FileNotFoundError, and ValueError for a file of another name or for one class of two
    splits.
    """
    seen: dict[str, str] = {}
    for path in files.expand(location):
        match = _NAME.fullmatch(files.base_name(path))
        if match is None:
            raise ValueError(f"{path} is no CLASS_test_splitN.txt, as HMDB51's splits are")
        folder = match[1]
        if folder in seen:
            raise ValueError(f"{path} and {seen[folder]} are two splits of one class; choose one")
        seen[folder] = path
        root = context.root_of(path)
        lines = files.read_bytes(path).decode("utf-8-sig", errors="replace").splitlines()
        for number, line in enumerate(lines, start=1):
            name, _, part = line.strip().rpartition(" ")
            if not line.strip() or part == "0":
                continue
            place = files.below(root, posixpath.join(folder, name.strip()))
            if place is None or part not in _SPLITS or not name.strip():
                problem = f"{line.strip()[:80]!r} is no video and 0, 1 or 2"
                yield broken(f"{files.base_name(path)}:{number}", path, problem, "test")
                continue
            yield Item(
                id=f"{folder}/{name.strip()}",
                path=place,
                labels=(folder.replace("_", " "),),
                split=context.split or _SPLITS[part],
            )
