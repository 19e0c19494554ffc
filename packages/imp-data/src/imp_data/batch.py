"""Batch: what the loader hands to a training step, typed."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True, kw_only=True)
class Batch:
    """`inputs[modality]` as its View shapes it, with a leading batch axis.

    image uint8 [b, h, w, 3], video uint8 [b, t, h, w, 3], audio float32 [b, frames, mels],
    text int32 [b, n] (0 is padding). `labels`, None for an unlabelled dataset, are as the loader
    was asked: "index" gives int32 [b], the label that the text names, and without such a text
    the example's own, -1 where it has none or several; "multi_hot" bool [b, y], a row of False
    where it has none. `index` int64 [b] is each example's place in its split.
    """

    inputs: dict[str, np.ndarray]
    labels: np.ndarray | None
    index: np.ndarray
