"""Requests: which of a user's files go to the server, and how many at a time."""

import contextlib
import pathlib
from collections import Counter
from collections.abc import Iterator, Sequence

from imp_eval import client as clients
from imp_eval.client import Input

# Bytes of files in one request, well below the server's limit for a message.
_REQUEST_BYTES = 16 << 20


def files_of(folder: pathlib.Path, modality: str | None) -> tuple[list[pathlib.Path], str]:
    """The folder's media files of one modality, sorted, and that modality.

    Raises ValueError where it holds none, or several modalities and none is named.
    """
    found: list[tuple[pathlib.Path, str]] = []
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        with contextlib.suppress(ValueError):  # other files lie there too
            found.append((path, clients.modality_of(path)))
    kinds = Counter(kind for _, kind in found)
    # A video's sound is audio as well.
    accepted = {modality, "video"} if modality == "audio" else {modality}
    if modality is None:
        if len(kinds) > 1:
            several = ", ".join(f"{n} {kind}" for kind, n in kinds.most_common())
            raise ValueError(f"{folder} holds {several} files; choose with --modality")
        accepted = set(kinds)
    files = [path for path, kind in found if kind in accepted]
    if not files:
        raise ValueError(f"{folder} holds no {modality or 'media'} files")
    return files, modality or kinds.most_common(1)[0][0]


def expanded(paths: Sequence[pathlib.Path], modality: str | None) -> list[pathlib.Path]:
    """The paths with each folder replaced by its media files.

    Raises FileNotFoundError, and ValueError for a file or folder whose modality can't be told.
    """
    found: list[pathlib.Path] = []
    for path in paths:
        if path.is_dir():
            found += files_of(path, modality)[0]
            continue
        if modality is None:
            clients.modality_of(path)
        if not path.is_file():
            raise FileNotFoundError(f"no file {path}")
        found.append(path)
    return found


def batches(
    files: Sequence[pathlib.Path],
    modality: str | None,
    first: Sequence[tuple[str, Input]] = (),
    size: int = 32,
) -> Iterator[list[tuple[str, Input]]]:
    """(name, input) in requests of up to `size` inputs and _REQUEST_BYTES, or one larger file.

    Raises ValueError for no input at all, and what `client.read_file` does.
    """
    batch: list[tuple[str, Input]] = []
    num_bytes = 0
    for name, value in [*first, *((str(path), None) for path in files)]:
        given = clients.read_file(name, modality) if value is None else value
        if batch and (len(batch) == size or num_bytes + given.ByteSize() > _REQUEST_BYTES):
            yield batch
            batch, num_bytes = [], 0
        batch.append((name, given))
        num_bytes += given.ByteSize()
    if not batch:
        raise ValueError("nothing to do; give files")
    yield batch
