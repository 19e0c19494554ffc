"""Record: one example with its arrays, <-> the bytes of a tf.train.Example.

In TensorFlow: `tf.io.decode_raw(features[key], dtype)` reshaped to `features[key + "/shape"]`.
`features["label"]` is one int64 for each label, -1 alone for none.
"""

import dataclasses

import numpy as np
from google.protobuf.message import DecodeError

from imp_data.views import ON_DISK
from imp_proto.v1 import record_pb2

_NO_LABEL = -1
_ID, _TEXTS, _LABEL = "id", "texts", "label"


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Record:
    """`arrays` by view.key, as the views shape them; `texts` are captions; `labels` indices."""

    id: str
    arrays: dict[str, np.ndarray]
    texts: tuple[str, ...] = ()
    labels: tuple[int, ...] = ()


def to_bytes(record: Record) -> bytes:
    """Equal records give equal bytes."""
    example = record_pb2.Example()
    feature = example.features.feature
    feature[_ID].bytes_list.value.append(record.id.encode())
    feature[_TEXTS].bytes_list.value.extend(text.encode() for text in record.texts)
    feature[_LABEL].int64_list.value.extend(record.labels or (_NO_LABEL,))
    for key, array in record.arrays.items():
        dtype = ON_DISK[array.dtype.name]
        feature[key].bytes_list.value.append(np.ascontiguousarray(array, dtype).tobytes())
        feature[f"{key}/shape"].int64_list.value.extend(array.shape)
        feature[f"{key}/dtype"].bytes_list.value.append(array.dtype.name.encode())
    return example.SerializeToString(deterministic=True)


def from_bytes(data: bytes) -> Record:
    """Raises ValueError for bytes that `to_bytes` did not write."""
    try:
        feature = dict(record_pb2.Example.FromString(data).features.feature)
    except DecodeError as error:
        raise ValueError(f"not a tf.train.Example: {error}") from error
    if missing := {_ID, _TEXTS, _LABEL} - feature.keys():
        raise ValueError(f"the record lacks {sorted(missing)}; it was not written by imp-data")
    arrays: dict[str, np.ndarray] = {}
    for name in feature:
        if not name.endswith("/shape"):
            continue
        key = name.removesuffix("/shape")
        dtype = feature[f"{key}/dtype"].bytes_list.value[0].decode()
        flat = np.frombuffer(feature[key].bytes_list.value[0], ON_DISK[dtype])
        arrays[key] = flat.reshape(tuple(feature[name].int64_list.value))
    labels = tuple(feature[_LABEL].int64_list.value)
    return Record(
        id=feature[_ID].bytes_list.value[0].decode(),
        arrays=arrays,
        texts=tuple(text.decode() for text in feature[_TEXTS].bytes_list.value),
        labels=() if labels == (_NO_LABEL,) else labels,
    )
