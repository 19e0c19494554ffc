"""A split's arrays by example number, kept in memory where they fit and shared between readers."""

import threading
import weakref

import numpy as np

from imp_data.datasets import Dataset
from imp_data.stores.tensorstore import ArrayReader
from imp_data.views import View


class Rows:
    """Examples of one view of one split; threads may share it."""

    def __init__(self, dataset: Dataset, split: str, view: View) -> None:
        self._reader = ArrayReader(dataset.path, split, view)
        self._rows = dataset.rows(split)
        self._lock = threading.Lock()
        self._memory: np.ndarray | None = None
        self.num_bytes = len(self._rows) * int(np.prod(view.shape)) * np.dtype(view.dtype).itemsize

    def __len__(self) -> int:
        return len(self._rows)

    def read(self, index: np.ndarray, *, cached: bool) -> np.ndarray:
        """int64 [b] -> [b, *view.shape]; `cached` reads the whole split once and keeps it.

        Raises ValueError for a damaged dataset.
        """
        if not cached:
            return self._reader.read(self._rows[index])
        with self._lock:
            if self._memory is None:
                self._memory = self._reader.read(self._rows)
        return self._memory[index]


_open: weakref.WeakValueDictionary[tuple[str, str, str, str], Rows] = weakref.WeakValueDictionary()
_opening = threading.Lock()


def open_rows(dataset: Dataset, split: str, view: View) -> Rows:
    """The one reader of these rows in this process, for as long as anyone holds it."""
    key = (str(dataset.path.resolve()), dataset.plan_digest, split, view.key)
    with _opening:
        rows = _open.get(key)
        if rows is None:
            rows = _open[key] = Rows(dataset, split, view)
        return rows
