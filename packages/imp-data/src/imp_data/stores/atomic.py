"""Files that appear whole or not at all, with their checksum."""

import hashlib
import os
import pathlib
import types

TEMPORARY_SUFFIX = ".tmp"


class AtomicFile:
    """A file under a temporary name until `with` ends well: then synced and renamed.

    An error or a kill leaves nothing at `path`; a killed writer's temporary file may stay.
    """

    def __init__(self, path: pathlib.Path) -> None:
        self.path = path
        self.num_bytes = 0
        self._hash = hashlib.sha256()
        path.parent.mkdir(parents=True, exist_ok=True)
        self._temporary = path.with_name(f".{path.name}.{os.getpid()}{TEMPORARY_SUFFIX}")
        self._file = open(self._temporary, "wb")  # noqa: SIM115

    def write(self, data: bytes | memoryview) -> None:
        self._file.write(data)
        self._hash.update(data)
        self.num_bytes += len(data)

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()

    def __enter__(self) -> "AtomicFile":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: types.TracebackType | None,
    ) -> None:
        if kind is not None:
            self._file.close()
            self._temporary.unlink(missing_ok=True)
            return
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        os.replace(self._temporary, self.path)
        sync_folder(self.path.parent)


def write_file(path: pathlib.Path, data: bytes) -> None:
    """Writes `data` to `path` whole or not at all."""
    with AtomicFile(path) as file:
        file.write(data)


def sync_folder(folder: pathlib.Path) -> None:
    """Makes renames in `folder` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256_of(path: pathlib.Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
