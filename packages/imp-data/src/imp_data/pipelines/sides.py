"""Sides: what a report shows of items, looked up by their number among all chunks."""

import bisect
from collections.abc import Sequence

import numpy as np

from imp_data import sources
from imp_data.datasets import Dataset
from imp_data.media.limits import MediaError
from imp_data.near_duplicates import kinds, thumbnails
from imp_data.near_duplicates.kinds import Kind
from imp_data.near_duplicates.report import Side
from imp_data.pipelines.fingerprint import FingerprintJob, Stored
from imp_data.stores.rows import Rows


class Sides:
    """Reads items once more, for a reader's eyes; `jobs` are those that fingerprinted them."""

    def __init__(self, jobs: Sequence[FingerprintJob]) -> None:
        self._jobs = jobs
        self._firsts = [job.first for job in jobs]

    def of(self, number: int) -> Side:
        """An item's captions and thumbnail; without one where there is nothing to see."""
        job = self._jobs[bisect.bisect_right(self._firsts, number) - 1]
        place = number - job.first
        kind = _seen(job.kinds)
        if isinstance(job.members, Stored):
            return _stored(job.members, place, kind)
        item = job.members[place]
        png = b""
        if kind is not None:
            try:
                data = sources.read_bytes(item, job.limits)
                png = thumbnails.of_bytes(
                    data, kind, limits=job.limits, start=item.start, end=item.end
                )
            except (MediaError, OSError):
                # Equal bytes are duplicates even where they can't be decoded.
                png = b""
        return Side(texts=item.texts, png=png)


def _seen(compared: Sequence[Kind]) -> Kind | None:
    """The first kind of which there is a picture."""
    return next((kind for kind in compared if kind not in ("bytes", "text")), None)


def _stored(stored: Stored, place: int, kind: Kind | None) -> Side:
    dataset = Dataset.load(stored.dataset)
    index = np.array([stored.start + place])
    texts = dataset.examples(stored.split).read(index)[0].texts
    if kind is None:
        return Side(texts=texts, png=b"")
    view = kinds.finest(dataset.views, kind)
    array = Rows(dataset, stored.split, view).read(index)[0]
    return Side(texts=texts, png=thumbnails.of_array(array, view))
