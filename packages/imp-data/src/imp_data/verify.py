"""Verify: every file of a dataset against the checksums in its manifest."""

import pathlib

from imp_data import own_tokenizer
from imp_data.datasets import Dataset
from imp_data.stores.atomic import sha256_of

_DATA = ("tensorstore", "tfrecord", "examples")


def verify(path: pathlib.Path) -> list[str]:
    """One line for each missing, changed or extra file; none for a sound dataset.

    Raises FileNotFoundError or ValueError where `Dataset.load` does.
    """
    dataset = Dataset.load(path)
    problems: list[str] = []
    listed: set[str] = set()
    files = [file for shard in dataset.manifest.shards for file in shard.files]
    if dataset.manifest.HasField("tokenizer"):
        files.append(dataset.manifest.tokenizer)
    for file in files:
        listed.add(file.path)
        written = path / file.path
        if not written.is_file():
            problems.append(f"missing: {file.path}")
        elif written.stat().st_size != file.num_bytes:
            problems.append(
                f"changed: {file.path} has {written.stat().st_size} bytes, not {file.num_bytes}"
            )
        elif sha256_of(written) != file.sha256:
            problems.append(f"changed: {file.path} has another sha256")
    for split in dataset.num_examples if "tensorstore" in dataset.formats else ():
        for view in dataset.views:
            name = f"tensorstore/{split}/{view.key}/zarr.json"
            listed.add(name)
            if not (path / name).is_file():
                problems.append(f"missing: {name}")
    found = [path / own_tokenizer.FILE]
    for folder in _DATA:
        found += sorted((path / folder).rglob("*"))
    for file_path in found:
        name = file_path.relative_to(path).as_posix()
        if file_path.is_file() and name not in listed:
            problems.append(f"extra: {name}")
    return problems
