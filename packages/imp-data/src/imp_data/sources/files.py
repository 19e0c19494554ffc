"""Files wherever they lie: a local path, or any fsspec URL such as memory://, s3:// or gs://."""

import functools
import glob
import io
import os
import posixpath
import re
from collections.abc import Iterator, Sequence
from typing import Any

_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d+)\.\.(\d+)")
_MAX_EXPANDED = 1_000_000


def is_remote(path: str) -> bool:
    return "://" in path


def local(path: str) -> str:
    """The path itself, `~` and `file://` resolved; a URL stays."""
    path = path.removeprefix("file://")
    return path if is_remote(path) else os.path.expanduser(path)


def open_binary(path: str) -> Any:
    """A binary file to read and seek in. Raises OSError; ValueError for a URL that no installed
    library reads."""
    if not is_remote(path):
        return open(path, "rb")
    filesystem, place = _filesystem(path)
    return filesystem.open(place, "rb")


def read_bytes(path: str, *, offset: int = 0, num_bytes: int | None = None) -> bytes:
    """Exactly `num_bytes` from `offset` on, or all of them. Raises OSError, also for fewer."""
    with open_binary(path) as file:
        file.seek(offset)
        data = file.read() if num_bytes is None else file.read(num_bytes)
    if num_bytes is not None and len(data) < num_bytes:
        raise OSError(0, f"the file ends after {len(data)} of {num_bytes} bytes")
    return data


def size(file: Any) -> int:
    """Bytes of an open file."""
    end = int(file.seek(0, io.SEEK_END))
    file.seek(0)
    return end


def status(path: str) -> tuple[int, str]:
    """Bytes, and what changes with the content: the clock or a tag. (-1, "") for no such file."""
    try:
        if not is_remote(path):
            found = os.stat(path)
            return found.st_size, str(found.st_mtime_ns)
        filesystem, place = _filesystem(path)
        info = filesystem.info(place)
    except OSError:
        return -1, ""
    tags = (info.get(key) for key in ("ETag", "md5Hash", "mtime", "LastModified", "created"))
    return int(info.get("size") or 0), str(next((tag for tag in tags if tag is not None), ""))


def is_folder(path: str) -> bool:
    if not is_remote(path):
        return os.path.isdir(path)
    filesystem, place = _filesystem(path)
    return bool(filesystem.isdir(place))


def walk(root: str) -> Iterator[str]:
    """Every file below `root`, as a path relative to it with forward slashes, in a fixed order.

    What begins with a dot is passed over. Raises FileNotFoundError.
    """
    if not is_folder(root):
        raise FileNotFoundError(f"no folder at {root}")
    if not is_remote(root):
        yield from _walk_local(root)
        return
    filesystem, place = _filesystem(root)
    place = place.rstrip("/")
    for path in sorted(filesystem.find(place)):
        name = path[len(place) :].lstrip("/")
        if not any(part.startswith(".") for part in name.split("/")):
            yield name


def _walk_local(root: str) -> Iterator[str]:
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        relative = os.path.relpath(folder, root)
        for name in sorted(names):
            if not name.startswith("."):
                yield name if relative == "." else f"{relative}/{name}".replace(os.sep, "/")


def expand(pattern: str) -> list[str]:
    """The files that a path names: {a,b} and {000..012} are written out, then * ? [] and **.

    Sorted within each pattern; local ones are absolute. Raises FileNotFoundError for a path or a
    pattern without a file.
    """
    pattern = local(pattern)
    found: dict[str, None] = {}
    # A name may hold such characters itself.
    for path in [pattern] if status(pattern)[0] >= 0 else _braces(pattern):
        matches = [path] if status(path)[0] >= 0 else _glob(path) if glob.has_magic(path) else []
        if not matches:
            raise FileNotFoundError(f"no file at {path}")
        found.update(dict.fromkeys(matches))
    return [path if is_remote(path) else os.path.abspath(path) for path in found]


def _braces(pattern: str) -> list[str]:
    match = _BRACES.search(pattern)
    if match is None:
        return [pattern]
    if bounds := _RANGE.fullmatch(match[1]):
        first, last = int(bounds[1]), int(bounds[2])
        if not first <= last < first + _MAX_EXPANDED:
            raise ValueError(f"range {match[0]} in {pattern} must rise by less than a million")
        choices: Sequence[str] = [
            f"{number:0{len(bounds[1])}d}" for number in range(first, last + 1)
        ]
    else:
        choices = match[1].split(",")
    before, after = pattern[: match.start()], pattern[match.end() :]
    return [path for choice in choices for path in _braces(before + choice + after)]


def _glob(pattern: str) -> list[str]:
    if not is_remote(pattern):
        return sorted(p for p in glob.iglob(pattern, recursive=True) if os.path.isfile(p))
    filesystem, place = _filesystem(pattern)
    return sorted(filesystem.unstrip_protocol(path) for path in filesystem.glob(place))


def below(root: str, name: str) -> str | None:
    """The path of `name`, relative to `root` or absolute; None where it leaves `root`."""
    if is_remote(root) or is_remote(name):
        path = posixpath.join(root, name) if not is_remote(name) else name
        scheme, _, place = path.partition("://")
        path = f"{scheme}://{posixpath.normpath(place)}"
        base = root.rstrip("/")
        return path if path.startswith(base + "/") else None
    root = real_folder(root)
    folder, last = os.path.split(os.path.join(root, name))
    path = os.path.join(real_folder(folder), last)
    if last in ("", ".", "..") or os.path.islink(path):
        path = os.path.realpath(path)
    return path if path.startswith(root.rstrip(os.sep) + os.sep) else None


def parent(path: str) -> str:
    """The folder of a file."""
    return path.rpartition("/")[0] if is_remote(path) else os.path.dirname(os.path.abspath(path))


def base_name(path: str) -> str:
    return path.replace(os.sep, "/").rpartition("/")[2]


def relative_names(paths: Sequence[str]) -> dict[str, str]:
    """path -> its name relative to the files' common folder."""
    folders = [path.replace(os.sep, "/").split("/")[:-1] for path in paths]
    # Lists of names, not strings: whole names are compared.
    shared = len(os.path.commonprefix(folders))  # noqa: RUF071
    return {path: "/".join(path.replace(os.sep, "/").split("/")[shared:]) for path in paths}


# A folder of a million files is looked up once.
real_folder = functools.lru_cache(maxsize=1024)(os.path.realpath)


def _filesystem(path: str) -> tuple[Any, str]:
    import fsspec

    try:
        filesystem, place = fsspec.core.url_to_fs(path)
    except (ImportError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{path} can't be opened: {reason}") from error
    return filesystem, place
