"""WebDataset tars: members that share a name up to its first dot are one example."""

import dataclasses
import json
import posixpath
import tarfile
from collections.abc import Iterator
from typing import Any

from imp_data.sources import files
from imp_data.sources.item import Item
from imp_data.sources.payload import Span
from imp_data.sources.table import Context, Rows, broken

_WORDS = ("txt", "caption", "cls", "json")
# More than this is neither a caption nor a label: what is cut off fails to parse.
_MAX_WORDS = 1 << 24
_BLOCK = 512
# What tarfile raises on broken archives, besides its own errors.
_BROKEN = (tarfile.TarError, EOFError, ValueError, OverflowError, OSError)


def read_webdataset(location: str, context: Context) -> Iterator[Item]:
    """A tar that breaks off gives what lies before the break, and one broken item.

    Beside the media, KEY.txt or KEY.caption is a caption, KEY.cls a label, and KEY.json an object
    with the names of a JSON lines manifest.
    """
    paths = files.expand(location)
    names = files.relative_names(paths)
    for path in paths:
        # The suffix says only that it is one tar of several.
        name = names[path].removesuffix(".tar")
        split = context.split_of(path)
        count = 0
        try:
            with files.open_binary(path) as file:
                for sample in _samples(file):
                    count += 1
                    yield sample.item(path, name, context)
        except _BROKEN as error:
            reason = " ".join(str(error).split())
            problem = f"the tar is broken after {count} examples ({reason}); write it again"
            yield broken(names[path], path, problem, split)


@dataclasses.dataclass(kw_only=True)
class _Sample:
    key: str
    media: dict[str, Span] = dataclasses.field(default_factory=dict)
    words: dict[str, bytes] = dataclasses.field(default_factory=dict)

    def item(self, path: str, name: str, context: Context) -> Item:
        identity = f"{name}/{self.key}"
        suitable = [kind for kind in self.media if f".{kind}" in context.suffixes]
        if len(suitable) != 1:
            held = ", ".join([*self.media, *self.words]) or "nothing"
            problem = f"needs one file for these views among its parts ({held})"
            return broken(identity, path, problem, context.split_of(path))
        try:
            row = self._row()
        except (ValueError, RecursionError) as error:
            reason = " ".join(str(error).split())
            return broken(identity, path, f"words can't be read: {reason}", context.split_of(path))
        rows = Rows(context=context, manifest=path, name=name, names=tuple(row), separated=False)
        item = rows.item(row, self.key, self.media[suitable[0]])
        return item if item.problem else dataclasses.replace(item, id=identity)

    def _row(self) -> dict[str, Any]:
        row: dict[str, Any] = {}
        if "json" in self.words:
            row = json.loads(self.words["json"].decode("utf-8-sig"))
            if not isinstance(row, dict):
                raise ValueError(f"{self.key}.json is not a JSON object")
        for kind in ("caption", "txt"):
            if kind in self.words:
                # Bytes that are not UTF-8 stay marked, for their item's rejection.
                row["caption"] = self.words[kind].decode("utf-8-sig", errors="surrogateescape")
        if "cls" in self.words:
            row["label"] = self.words["cls"].decode("utf-8-sig").strip()
        return row


def _samples(file: Any) -> Iterator[_Sample]:
    """Raises what `_BROKEN` names where the archive breaks off.

    The example before the break is not given: parts of it may lie behind.
    """
    size = files.size(file)
    head = file.read(2)
    file.seek(0)
    if head == b"\x1f\x8b":
        raise ValueError("it is compressed, and examples are read one by one: gunzip it")
    sample: _Sample | None = None
    # "r:" is a plain tar; tarfile would else try each compression.
    with tarfile.open(fileobj=file, mode="r:") as tar:
        end = 0
        while (member := tar.next()) is not None:
            # Archives are read front to back; one that points elsewhere would be read for ever.
            if member.offset < end or member.size < 0 or member.offset_data + member.size > size:
                raise ValueError(f"member {member.name!r} lies outside the file")
            if member.issparse():
                raise ValueError(f"member {member.name!r} is stored with holes")
            end = member.offset_data + member.size
            # tarfile keeps every member it has met, in a list that its stubs leave out.
            tar.members.clear()  # type: ignore[attr-defined]
            if not member.isreg() or posixpath.basename(member.name).startswith("."):
                continue
            folder, name = posixpath.split(member.name.removeprefix("./"))
            stem, _, kind = name.partition(".")
            key = posixpath.join(folder, stem)
            if sample is None or sample.key != key:
                if sample is not None:
                    yield sample
                sample = _Sample(key=key)
            kind = kind.lower()
            if kind in _WORDS:
                file.seek(member.offset_data)
                sample.words[kind] = file.read(min(member.size, _MAX_WORDS))
            else:
                sample.media[kind] = Span(offset=member.offset_data, num_bytes=member.size)
        file.seek(tar.offset)
        # tarfile takes a damaged header for the end.
        whole = file.read(_BLOCK) == bytes(_BLOCK)
        place = tar.offset
    if not whole:
        raise ValueError(f"no member and no end at byte {place}")
    if sample is not None:
        yield sample
