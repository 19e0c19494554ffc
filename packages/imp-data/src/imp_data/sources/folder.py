"""Class folders and globs: the files themselves are the source."""

import posixpath
from collections.abc import Iterator

from imp_data.sources import files
from imp_data.sources.item import DEFAULT_SPLIT, SPLITS, Item
from imp_data.sources.table import Context, suffix_of


def read_folder(location: str, context: Context) -> Iterator[Item]:
    """PATH: [train/|test/|…]<label>/…/<file>. Other files are passed over."""
    root = files.local(location)
    if not files.is_folder(root):
        raise FileNotFoundError(f"no folder at {root}; write folder:PATH of class folders")
    root = root if files.is_remote(root) else str(files.real_folder(root))
    for name in files.walk(root):
        if suffix_of(name) not in context.suffixes:
            continue
        parts = name.split("/")[:-1]
        split = context.split or DEFAULT_SPLIT
        if parts and parts[0] in SPLITS:
            split, parts = parts[0], parts[1:]
        yield Item(id=name, path=posixpath.join(root, name), labels=tuple(parts[:1]), split=split)


def read_glob(location: str, context: Context) -> Iterator[Item]:
    """PATTERN: the files it matches, without labels."""
    paths = [path for path in files.expand(location) if suffix_of(path) in context.suffixes]
    names = files.relative_names(paths) if paths else {}
    for path in paths:
        yield Item(id=names[path], path=path, split=context.split or DEFAULT_SPLIT)
