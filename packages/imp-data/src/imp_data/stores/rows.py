"""A split's arrays by example number."""

import numpy as np

from imp_data.datasets import Dataset
from imp_data.stores.tensorstore import ArrayReader
from imp_data.views import View


class Rows:
    """Examples of one view of one split; threads may share it, and it holds no array or file."""

    def __init__(self, dataset: Dataset, split: str, view: View) -> None:
        """Raises ValueError when there is no such array."""
        self._reader = ArrayReader(dataset.path, split, view)
        self._shards = dataset.shards(split)

    def __len__(self) -> int:
        return len(self._shards)

    def read(self, index: np.ndarray) -> np.ndarray:
        """int64 [b] -> [b, *view.shape]. Raises ValueError for a damaged dataset."""
        shards, rows = self._shards.locate(index)
        return self._reader.read(shards * self._reader.shard_size + rows)
