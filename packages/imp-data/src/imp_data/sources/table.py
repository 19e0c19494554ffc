"""A manifest's row -> an Item, whatever the manifest's format. What is wrong becomes a problem."""

import dataclasses
import functools
import math
import os
import posixpath
import re
from collections.abc import Mapping, Sequence
from typing import Any

from imp_data.sources import files
from imp_data.sources.item import DEFAULT_SPLIT, SPLITS, Item
from imp_data.sources.payload import Payload

# What a row may say -> the columns that say it where the user names none; the first is taken.
ROLES: dict[str, tuple[str, ...]] = {
    "path": ("path", "file_name", "filename", "filepath", "file"),
    "bytes": ("bytes", "image", "video", "audio"),
    "id": (),
    "caption": ("caption", "text"),
    "captions": ("captions", "texts"),
    "label": ("label",),
    "labels": ("labels",),
    "split": ("split",),
    "start": ("start", "start_seconds", "time_start"),
    "end": ("end", "end_seconds", "time_end"),
}
_SEPARATOR = "|"


class RowError(ValueError):
    """A row that names no usable example; its text is a one-line reason."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Context:
    """What the user said beside the source's place.

    `suffixes` are those that every modality wanted can have; `timed` is whether one of them has a
    duration. `root` is the folder that a manifest's paths are relative to, by default its own;
    `split` that of examples whose source names none; `columns` maps roles to columns' names.
    """

    suffixes: frozenset[str]
    timed: bool = True
    root: str | None = None
    split: str | None = None
    columns: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        if unknown := set(self.columns) - set(ROLES):
            raise ValueError(
                f"columns {sorted(unknown)} are unknown; map some of {', '.join(ROLES)}"
            )
        if self.split is not None:
            check_split(self.split)

    def root_of(self, manifest: str) -> str:
        return files.parent(manifest) if self.root is None else files.local(self.root)

    def split_of(self, manifest: str) -> str:
        """The split that the file's name holds, such as test-00000.parquet; else the default."""
        words = re.split(r"[^a-z]+", posixpath.basename(manifest).lower())
        return self.split or next((word for word in words if word in SPLITS), DEFAULT_SPLIT)

    def column(self, role: str, names: Sequence[str]) -> str | None:
        """The column that has this role among `names`. ValueError if the user's isn't there."""
        if (chosen := self.columns.get(role)) is not None:
            if chosen not in names:
                raise ValueError(f"no column {chosen!r} for {role}; there are {', '.join(names)}")
            return chosen
        return next((name for name in ROLES[role] if name in names), None)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rows:
    """Turns the rows of one manifest into items."""

    context: Context
    manifest: str
    name: str
    names: tuple[str, ...]
    separated: bool

    def item(self, row: Mapping[str, Any], place: object, payload: Payload | None = None) -> Item:
        """`place` is where the row stands, `payload` where its media lie if it holds them itself.

        Lists in `separated` tables are text with "|" between the parts.
        """
        where = f"{self.name}:{place}"
        try:
            return self._item(row, where, payload)
        except RowError as error:
            return broken(where, self.manifest, str(error), self._split)

    def _item(self, row: Mapping[str, Any], where: str, payload: Payload | None) -> Item:
        start, end = times(self._cell(row, "start"), self._cell(row, "end"))
        if not self.context.timed and (start or end is not None):
            raise RowError("a picture has no start or end; leave them empty")
        split = self._cell(row, "split") or self._split
        if payload is None:
            name = self._cell(row, "path") or self._cell(row, "bytes")
            path = self._path(name)
            usual = posixpath.normpath(str(name).replace(os.sep, "/"))
        else:
            path, usual = self.manifest, where
        identity = str(self._cell(row, "id") or usual)
        if start or end is not None:
            identity += f"#{start:g}-{'' if end is None else f'{end:g}'}"
        return Item(
            id=identity,
            path=path,
            texts=(*self._texts(row, "caption"), *self._texts(row, "captions")),
            labels=tuple(
                dict.fromkeys((*self._labels(row, "label"), *self._labels(row, "labels")))
            ),
            split=check_split(split),
            start=start,
            end=end,
            payload=payload,
        )

    @functools.cached_property
    def _split(self) -> str:
        return self.context.split_of(self.manifest)

    @functools.cached_property
    def _columns(self) -> dict[str, str | None]:
        return {role: self.context.column(role, self.names) for role in ROLES}

    def _cell(self, row: Mapping[str, Any], role: str) -> Any:
        column = self._columns[role]
        return None if column is None else row.get(column)

    def _path(self, name: object) -> str:
        if not isinstance(name, str) or not name:
            raise RowError("has no path")
        if "\0" in name or not _is_file_name(name):
            raise RowError(f"path {name!r} holds characters that no file's name has")
        path = files.below(self.context.root_of(self.manifest), name)
        if path is None:
            raise RowError(
                f"path {name!r} leaves {self.context.root_of(self.manifest)}; copy it there"
            )
        if suffix_of(name) not in self.context.suffixes:
            wanted = " ".join(sorted(self.context.suffixes))
            raise RowError(f"path {name!r} must end in one of {wanted} for these views")
        return path

    def _texts(self, row: Mapping[str, Any], role: str) -> list[str]:
        values = self._list(row, role)
        if not all(isinstance(value, str) for value in values):
            raise RowError(f"{role} {values!r} must be text or a list of texts")
        return values

    def _labels(self, row: Mapping[str, Any], role: str) -> list[str]:
        values = self._list(row, role)
        if not all(isinstance(value, str | int) for value in values):
            raise RowError(f"{role} {values!r} must be a name or whole number, or a list of such")
        return [str(value) for value in values]

    def _list(self, row: Mapping[str, Any], role: str) -> list[Any]:
        value = self._cell(row, role)
        if value is None or value == "":
            return []
        if isinstance(value, list):
            return value
        if self.separated and role.endswith("s"):
            return [part.strip() for part in value.split(_SEPARATOR) if part.strip()]
        return [value]


def broken(identity: str, path: str, problem: str, split: str = DEFAULT_SPLIT) -> Item:
    """An item that is no use, and why."""
    return Item(id=identity, path=path, problem=problem, split=split)


def times(start: object, end: object) -> tuple[float, float | None]:
    """Seconds from a row's cells. Raises RowError for what is no time or the wrong way round."""
    first, last = _seconds("start", start), _seconds("end", end)
    if last is not None and last <= (first or 0.0):
        raise RowError(f"end {last:g} s is not after start {first or 0.0:g} s")
    return first or 0.0, last


def _seconds(role: str, value: object) -> float | None:
    if value is None or value == "":
        return None
    try:
        seconds = float(value) if isinstance(value, str | int | float) else math.nan
    except (ValueError, OverflowError):
        seconds = math.nan
    if not math.isfinite(seconds) or seconds < 0:
        raise RowError(f"{role} {value!r} must be seconds of at least 0")
    return seconds


def check_split(split: object) -> str:
    """Raises RowError for what can't name a folder."""
    if not isinstance(split, str) or not split.isidentifier():
        raise RowError(f"split {split!r} must be a word such as train or test")
    return split


def _is_file_name(name: str) -> bool:
    try:
        os.fsencode(name)
    except UnicodeEncodeError:
        return False
    return True


def suffix_of(name: str) -> str:
    return posixpath.splitext(name)[1].lower()
