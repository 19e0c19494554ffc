"""ImageNet-1k: train/ and val/ of a folder a synset, or val/ flat with a list of its synsets.

LOC_synset_mapping.txt, or words.txt or synset_words.txt with the thousand alone, names the synsets.
A flat val/ needs LOC_val_solution.csv, or val.txt: an image and its synset, or its number among the
synsets in their order. All lie in the folder, or above the challenge's own Data/CLS-LOC.
"""

import posixpath
from collections.abc import Iterator

from imp_data.sources import files
from imp_data.sources.item import Item
from imp_data.sources.table import Context, broken, suffix_of

_MAPPINGS = ("LOC_synset_mapping.txt", "synset_words.txt", "words.txt")
_LISTS = ("LOC_val_solution.csv", "val.txt")
_CHALLENGE = "ILSVRC/Data/CLS-LOC"
# Two synsets of one and the same word.
_OWN_NAMES = {"n02012849": "crane bird", "n03126707": "construction crane"}


def read_imagenet(location: str, context: Context) -> Iterator[Item]:
    """Labels are the synsets' first words. Raises FileNotFoundError, and ValueError for a folder of
    no synset or a flat val/ without its list."""
    root = files.local(location)
    names = _names(root)
    inside = posixpath.join(root, _CHALLENGE)
    base = inside if files.is_folder(inside) else root
    splits = [split for split in ("train", "val") if files.is_folder(posixpath.join(base, split))]
    if not splits:
        raise FileNotFoundError(f"no folder train or val in {base}")
    listed: dict[str, str] | None = None
    for split in splits:
        folder = posixpath.join(base, split)
        for name in files.walk(folder):
            if suffix_of(name) not in context.suffixes:
                continue
            path, (synset, _, file) = posixpath.join(folder, name), name.rpartition("/")
            if not synset:
                listed = _listed(root, sorted(names)) if listed is None else listed
                synset = listed.get(posixpath.splitext(file)[0], "")
                if not synset:
                    yield broken(
                        f"{split}/{name}", path, "no list says of which class it is", split
                    )
                    continue
            if synset not in names:
                raise ValueError(f"{folder}/{synset} is no synset of {root}'s {_MAPPINGS[0]}")
            yield Item(id=f"{split}/{name}", path=path, labels=(names[synset],), split=split)


def imagenet_classes(location: str) -> tuple[str, ...]:
    """The names in the order of the synsets."""
    return tuple(name for _, name in sorted(_names(files.local(location)).items()))


def _names(root: str) -> dict[str, str]:
    """synset -> its first word; two that share it get all their words."""
    for file in _MAPPINGS:
        if files.status(path := posixpath.join(root, file))[0] >= 0:
            break
    else:
        raise FileNotFoundError(f"no file {_MAPPINGS[0]} in {root}: it names the classes")
    lines = files.read_bytes(path).decode("utf-8-sig", errors="replace").splitlines()
    pairs = (line.strip().split(None, 1) for line in lines)
    words = {pair[0]: pair[1] for pair in pairs if len(pair) == 2}
    if not words:
        raise ValueError(f"{path} names no synset; a line is as: n01440764 tench, Tinca tinca")
    firsts = {s: _OWN_NAMES.get(s, w.split(",")[0]) for s, w in words.items()}
    counts: dict[str, int] = {}
    for first in firsts.values():
        counts[first] = counts.get(first, 0) + 1
    names = {s: first if counts[first] == 1 else words[s] for s, first in firsts.items()}
    if len(set(names.values())) < len(names):
        raise ValueError(f"{path} gives two synsets the same words")
    return names


def _listed(root: str, synsets: list[str]) -> dict[str, str]:
    """An image's name without suffix -> its synset."""
    for file in _LISTS:
        if files.status(path := posixpath.join(root, file))[0] >= 0:
            break
    else:
        raise FileNotFoundError(f"val/ is flat, and no {_LISTS[0]} or {_LISTS[1]} is in {root}")
    found = {}
    for line in files.read_bytes(path).decode("utf-8-sig", errors="replace").splitlines():
        parts = line.replace(",", " ").split()
        if len(parts) < 2 or parts[0] == "ImageId":
            continue
        synset = parts[1]
        if synset.isdecimal() and int(synset) < len(synsets):
            synset = synsets[int(synset)]
        found[posixpath.splitext(parts[0])[0]] = synset
    return found
