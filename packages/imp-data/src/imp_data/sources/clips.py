"""Clips of YouTube videos, as Kinetics and AudioSet list them: which file on disk holds which.

A file is the whole recording, ID.mp4, or the clip alone: ID_START_END.mp4, where the times are
seconds, zero-filled or not, or milliseconds, joined by "_" or "-". It may lie in any subfolder.
"""

import posixpath
from collections.abc import Iterator

from imp_data.sources import files
from imp_data.sources.item import Item
from imp_data.sources.table import Context, broken, suffix_of


class Clips:
    """The files below a folder by their name without suffix."""

    def __init__(self, context: Context, manifest: str) -> None:
        self._root = context.root_of(manifest)
        self._names: dict[str, list[str]] = {}
        for name in files.walk(self._root):
            if suffix_of(name) in context.suffixes:
                stem = posixpath.splitext(posixpath.basename(name))[0]
                self._names.setdefault(stem, []).append(name)

    def item(
        self,
        video: str,
        start: float,
        end: float | None,
        *,
        labels: tuple[str, ...],
        split: str,
    ) -> Item:
        """The clip of `video` from `start` to `end` seconds; broken where there is no such file."""
        identity = f"{video}_{start:g}_{'' if end is None else f'{end:g}'}"
        for stem in [*_stems(video, start, end), video]:
            found = self._names.get(stem, [])
            if len(found) > 1:
                problem = f"two files may hold it: {found[0]} and {found[1]}; keep one"
                return broken(identity, posixpath.join(self._root, found[0]), problem, split)
            if found:
                whole = stem == video
                return Item(
                    id=identity,
                    path=posixpath.join(self._root, found[0]),
                    labels=labels,
                    split=split,
                    start=start if whole else 0.0,
                    end=end if whole else None if end is None else end - start,
                )
        first = next(iter(_stems(video, start, end)), video)
        problem = f"no file {first} or {video} below {self._root}"
        return broken(identity, self._root, problem, split)


def _stems(video: str, start: float, end: float | None) -> Iterator[str]:
    """The names that a file of the clip alone may have."""
    if end is None:
        return
    for write in ("{:06.0f}", "{:g}", "{:.3f}", "{:.1f}"):
        first, last = write.format(start), write.format(end)
        yield from (f"{video}_{first}_{last}", f"{video}_{first}-{last}")
    yield f"{video}_{start * 1000:.0f}_{end * 1000:.0f}"
