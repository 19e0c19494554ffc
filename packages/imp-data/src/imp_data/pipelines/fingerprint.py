"""Fingerprint: `Create(chunks) | Reshuffle | ParDo(fingerprint one chunk)`, one file a chunk.

What is costly, decoding, happens here, once a file; a stopped run goes on with the chunks that have
no file yet.
"""

import concurrent.futures
import dataclasses
import logging
import pathlib
from collections.abc import Sequence

import numpy as np

from imp_data import sources
from imp_data.datasets import Dataset
from imp_data.media.limits import Limits, MediaError
from imp_data.near_duplicates import fingerprints, kinds, minhash
from imp_data.near_duplicates.fingerprints import Fingerprints
from imp_data.near_duplicates.kinds import Kind
from imp_data.pipelines import runner
from imp_data.sources import Item
from imp_data.stores.rows import Rows

CHUNK = 1024
_logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stored:
    """Examples `start` to `stop` of a split of a built dataset."""

    dataset: str
    split: str
    start: int
    stop: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class FingerprintJob:
    """A chunk of files or of stored examples, and the file that its fingerprints go to.

    `chunk` numbers the chunks of all sets; `first` is the number of its first item; `reference`
    says that it belongs to an evaluation set.
    """

    path: str
    chunk: int
    first: int
    members: tuple[Item, ...] | Stored
    reference: bool
    kinds: tuple[Kind, ...]
    limits: Limits
    num_threads: int


def run(jobs: Sequence[FingerprintJob], pipeline_options: Sequence[str]) -> None:
    """Writes the files that are missing. Raises RuntimeError for a chunk that a runner lost."""

    missing = [job for job in jobs if not pathlib.Path(job.path).is_file()]
    if missing:
        runner.for_each(fingerprint, missing, pipeline_options)
    for job in jobs:
        if not pathlib.Path(job.path).is_file():
            raise RuntimeError(f"chunk {job.chunk} was not fingerprinted; run the build again")


def fingerprint(job: FingerprintJob) -> None:
    """Writes the chunk's file, unless it is there. An unreadable input has no rows."""
    path = pathlib.Path(job.path)
    if path.is_file():
        return
    if isinstance(job.members, Stored):
        parts = _of_stored(job.members, job.kinds)
    else:
        with concurrent.futures.ThreadPoolExecutor(job.num_threads, "decode") as pool:
            parts = list(pool.map(lambda item: _of_item(item, job), job.members))
    chunk = {
        kind: fingerprints.join([part.get(kind) or kinds.empty(kind) for part in parts])
        for kind in job.kinds
    }
    fingerprints.save(path, chunk)


def _of_item(item: Item, job: FingerprintJob) -> dict[Kind, Fingerprints]:
    """What could be read of a file; the build itself will say what is wrong with the rest."""
    prints: dict[Kind, Fingerprints] = {}
    if item.problem is not None:
        return prints
    if "text" in job.kinds:
        prints["text"] = minhash.of_texts(item.texts)
    media_kinds: list[Kind] = [kind for kind in job.kinds if kind != "text"]
    try:
        data = sources.read_bytes(item, job.limits) if media_kinds else b""
        for kind in media_kinds:
            prints[kind] = kinds.of_bytes(
                data, kind, limits=job.limits, start=item.start, end=item.end
            )
    except (MediaError, OSError) as error:
        _logger.info("%s has no fingerprint: %s", item.id, error)
    return prints


def _of_stored(stored: Stored, wanted: Sequence[Kind]) -> list[dict[Kind, Fingerprints]]:
    dataset = Dataset.load(stored.dataset)
    parts: list[dict[Kind, Fingerprints]] = [{} for _ in range(stored.start, stored.stop)]
    numbers = np.arange(stored.start, stored.stop)
    for kind in wanted:
        if kind == "text":
            for part, example in zip(parts, dataset.examples(stored.split).read(numbers)):
                part["text"] = minhash.of_texts(example.texts)
        elif kind != "bytes":
            view = kinds.finest(dataset.views, kind)
            rows = Rows(dataset, stored.split, view)
            for start, part in enumerate(parts):
                part[kind] = kinds.of_array(rows.read(numbers[start : start + 1])[0], view)
    return parts
