"""Collections: named indexes, in memory or kept in a folder.

In the folder a collection is `NAME/collection.json` and numbered change files
`NAME/000000000001.npz`, each written whole, synced and renamed before its change is acknowledged.
Loading replays them; now and then a snapshot takes the place of all changes before it.
"""

import contextlib
import dataclasses
import json
import logging
import os
import pathlib
import re
import shutil
import threading
import zipfile
from collections.abc import Mapping, Sequence

import numpy as np

from imp_data.stores.atomic import sync_folder
from imp_data.stores.lock import sole_writer
from imp_eval.index import Hit, Index

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_MAX_CHANGES = 256
logger = logging.getLogger(__name__)


class NotFoundError(LookupError):
    """No such collection."""


class AlreadyExistsError(ValueError):
    """A collection of that name is there."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class CollectionConfig:
    """What a collection holds: items of `modality` in the space shared with `query_modality`."""

    name: str
    modality: str
    query_modality: str
    dim: int
    model_digest: str

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError(
                f"collection name {self.name[:80]!r} must be 1 to 64 letters, digits, dots, "
                "underscores and hyphens, a letter or digit first"
            )


class Collection:
    """One collection; thread-safe."""

    def __init__(self, config: CollectionConfig, folder: pathlib.Path | None) -> None:
        self.config = config
        self._folder = folder
        self._index = Index(config.dim)
        self._write_lock = threading.Lock()  # orders changes, on disk and in memory
        self._index_lock = threading.Lock()
        self._next_change = 1
        self._num_changes = 0
        self._dropped = False
        if folder is not None:
            self._load(folder)

    def __len__(self) -> int:
        return len(self._index)

    def upsert(
        self, ids: Sequence[str], vectors: np.ndarray, metadata: Sequence[Mapping[str, str]]
    ) -> None:
        """`vectors` float32 [n, k], of length 1 each; on disk when this returns."""
        with self._write_lock:
            self._check_alive()
            fields = [dict(m) for m in metadata]
            self._write("upsert", ids, vectors, fields)
            with self._index_lock:
                self._index.upsert(ids, vectors, fields)
            self._compact()

    def delete(self, ids: Sequence[str]) -> int:
        """How many were there."""
        with self._write_lock:
            self._check_alive()
            self._write("delete", ids, np.empty((0, self.config.dim), np.float32), [])
            with self._index_lock:
                deleted = self._index.delete(ids)
            self._compact()
            return deleted

    def search(self, vector: np.ndarray, k: int) -> list[Hit]:
        with self._index_lock:
            return self._index.search(vector, k)

    def drop(self) -> None:
        """Removes the folder; the name is free, and later changes are refused, from now on."""
        with self._write_lock:
            self._check_alive()
            if self._folder is not None:
                # Renamed first: half a collection must never be loaded.
                gone = self._folder.with_name(f".dropped-{self.config.name}-{os.getpid()}")
                self._folder.rename(gone)
                shutil.rmtree(gone, ignore_errors=True)
            self._dropped = True

    def _check_alive(self) -> None:
        if self._dropped:
            raise NotFoundError(f"collection {self.config.name!r} has been dropped")

    def _write(
        self,
        change: str,
        ids: Sequence[str],
        vectors: np.ndarray,
        metadata: Sequence[Mapping[str, str]],
    ) -> None:
        if self._folder is None:
            return
        head = json.dumps({"change": change, "ids": list(ids), "metadata": list(metadata)})
        path = self._folder / f"{self._next_change:012d}.npz"
        temporary = path.with_suffix(".tmp")
        with temporary.open("wb") as file:
            np.savez(file, vectors=vectors, head=np.frombuffer(head.encode(), np.uint8))
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(path)
        sync_folder(self._folder)
        self._next_change += 1
        self._num_changes += 1

    def _compact(self) -> None:
        if self._folder is None or self._num_changes <= _MAX_CHANGES:
            return
        self._write("snapshot", self._index.ids, self._index.vectors, self._index.metadata)
        for path in _changes(self._folder)[:-1]:
            path.unlink()
        self._num_changes = 1

    def _load(self, folder: pathlib.Path) -> None:
        for leftover in folder.glob("*.tmp"):
            leftover.unlink()
        for path in _changes(folder):
            try:
                # Opened here: np.load leaves a damaged file open.
                with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                    head, vectors = json.loads(arrays["head"].tobytes()), arrays["vectors"]
            except (ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
                raise ValueError(
                    f"{path} is damaged ({error}); remove {folder} and index its files again"
                ) from error
            if head["change"] == "snapshot":
                self._index = Index(self.config.dim)
            if head["change"] == "delete":
                self._index.delete(head["ids"])
            else:
                self._index.upsert(head["ids"], vectors, head["metadata"])
            self._next_change = int(path.stem) + 1
            self._num_changes += 1


class Collections:
    """All collections of a server; thread-safe."""

    def __init__(self, folder: pathlib.Path | None = None) -> None:
        """Loads what is in `folder`; None keeps collections in memory only.

        Raises ValueError for a damaged folder, or one that another server has open.
        """
        self._folder = folder
        self._lock = threading.Lock()
        self._collections: dict[str, Collection] = {}
        self._held = contextlib.ExitStack()
        if folder is None:
            return
        with contextlib.ExitStack() as stack:
            stack.enter_context(sole_writer(folder))
            self._load(folder)
            self._held = stack.pop_all()

    def _load(self, folder: pathlib.Path) -> None:
        for path in sorted(p for p in folder.iterdir() if p.is_dir()):
            if path.name.startswith("."):
                shutil.rmtree(path)  # a creation or drop that was cut off
                continue
            self._collections[path.name] = Collection(_read_config(path), path)
            logger.info("loaded collection %s: %d items", path.name, len(self.get(path.name)))

    def close(self) -> None:
        self._held.close()

    def names(self) -> list[str]:
        return sorted(self._collections)

    def all(self) -> list[Collection]:
        """By name."""
        return [collection for _, collection in sorted(self._collections.items())]

    def get(self, name: str) -> Collection:
        """Raises NotFoundError naming the collections there are."""
        collection = self._collections.get(name)
        if collection is None:
            known = ", ".join(self.names()[:20]) or "none yet"
            raise NotFoundError(f"no collection {name[:80]!r}; there are: {known}")
        return collection

    def create(self, config: CollectionConfig) -> Collection:
        """Raises AlreadyExistsError."""
        with self._lock:
            if (there := self._collections.get(config.name)) is not None:
                raise AlreadyExistsError(
                    f"collection {config.name!r} is there already; it holds "
                    f"{there.config.modality}, searched by {there.config.query_modality}"
                )
            path = None
            if self._folder is not None:
                path = self._folder / config.name
                new = self._folder / f".new-{config.name}"
                shutil.rmtree(new, ignore_errors=True)  # of a creation that failed
                new.mkdir()
                with (new / "collection.json").open("w") as file:
                    json.dump(dataclasses.asdict(config), file, indent=1)
                    file.flush()
                    os.fsync(file.fileno())
                new.rename(path)
                sync_folder(self._folder)
            self._collections[config.name] = Collection(config, path)
            return self._collections[config.name]

    def drop(self, name: str) -> None:
        """Raises NotFoundError."""
        with self._lock:
            self.get(name).drop()
            del self._collections[name]


def _read_config(path: pathlib.Path) -> CollectionConfig:
    try:
        return CollectionConfig(**json.loads((path / "collection.json").read_text()))
    except (FileNotFoundError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path} is no collection ({error}); remove it, or give another data folder"
        ) from error


def _changes(folder: pathlib.Path) -> list[pathlib.Path]:
    return sorted(folder.glob("*.npz"))
