from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Manifest(_message.Message):
    __slots__ = ("format", "name", "modalities", "views", "splits", "labels", "shards", "rejects", "formats", "plan_digest", "source", "writer", "near_duplicates", "tokenizer")
    class RejectsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    MODALITIES_FIELD_NUMBER: _ClassVar[int]
    VIEWS_FIELD_NUMBER: _ClassVar[int]
    SPLITS_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    SHARDS_FIELD_NUMBER: _ClassVar[int]
    REJECTS_FIELD_NUMBER: _ClassVar[int]
    FORMATS_FIELD_NUMBER: _ClassVar[int]
    PLAN_DIGEST_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    WRITER_FIELD_NUMBER: _ClassVar[int]
    NEAR_DUPLICATES_FIELD_NUMBER: _ClassVar[int]
    TOKENIZER_FIELD_NUMBER: _ClassVar[int]
    format: int
    name: str
    modalities: _containers.RepeatedScalarFieldContainer[str]
    views: _containers.RepeatedCompositeFieldContainer[StoredView]
    splits: _containers.RepeatedCompositeFieldContainer[Split]
    labels: _containers.RepeatedScalarFieldContainer[str]
    shards: _containers.RepeatedCompositeFieldContainer[Receipt]
    rejects: _containers.ScalarMap[str, int]
    formats: _containers.RepeatedScalarFieldContainer[str]
    plan_digest: str
    source: str
    writer: str
    near_duplicates: NearDuplicates
    tokenizer: File
    def __init__(self, format: _Optional[int] = ..., name: _Optional[str] = ..., modalities: _Optional[_Iterable[str]] = ..., views: _Optional[_Iterable[_Union[StoredView, _Mapping]]] = ..., splits: _Optional[_Iterable[_Union[Split, _Mapping]]] = ..., labels: _Optional[_Iterable[str]] = ..., shards: _Optional[_Iterable[_Union[Receipt, _Mapping]]] = ..., rejects: _Optional[_Mapping[str, int]] = ..., formats: _Optional[_Iterable[str]] = ..., plan_digest: _Optional[str] = ..., source: _Optional[str] = ..., writer: _Optional[str] = ..., near_duplicates: _Optional[_Union[NearDuplicates, _Mapping]] = ..., tokenizer: _Optional[_Union[File, _Mapping]] = ...) -> None: ...

class NearDuplicates(_message.Message):
    __slots__ = ("against", "within", "compared_by", "dropped", "digest", "similarity", "label_conflicts")
    class DroppedEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    class SimilarityEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    AGAINST_FIELD_NUMBER: _ClassVar[int]
    WITHIN_FIELD_NUMBER: _ClassVar[int]
    COMPARED_BY_FIELD_NUMBER: _ClassVar[int]
    DROPPED_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    SIMILARITY_FIELD_NUMBER: _ClassVar[int]
    LABEL_CONFLICTS_FIELD_NUMBER: _ClassVar[int]
    against: _containers.RepeatedScalarFieldContainer[str]
    within: bool
    compared_by: _containers.RepeatedScalarFieldContainer[str]
    dropped: _containers.ScalarMap[str, int]
    digest: str
    similarity: _containers.ScalarMap[str, float]
    label_conflicts: int
    def __init__(self, against: _Optional[_Iterable[str]] = ..., within: _Optional[bool] = ..., compared_by: _Optional[_Iterable[str]] = ..., dropped: _Optional[_Mapping[str, int]] = ..., digest: _Optional[str] = ..., similarity: _Optional[_Mapping[str, float]] = ..., label_conflicts: _Optional[int] = ...) -> None: ...

class StoredView(_message.Message):
    __slots__ = ("key", "json")
    KEY_FIELD_NUMBER: _ClassVar[int]
    JSON_FIELD_NUMBER: _ClassVar[int]
    key: str
    json: str
    def __init__(self, key: _Optional[str] = ..., json: _Optional[str] = ...) -> None: ...

class Split(_message.Message):
    __slots__ = ("name", "num_examples", "shard_size")
    NAME_FIELD_NUMBER: _ClassVar[int]
    NUM_EXAMPLES_FIELD_NUMBER: _ClassVar[int]
    SHARD_SIZE_FIELD_NUMBER: _ClassVar[int]
    name: str
    num_examples: int
    shard_size: int
    def __init__(self, name: _Optional[str] = ..., num_examples: _Optional[int] = ..., shard_size: _Optional[int] = ...) -> None: ...

class Receipt(_message.Message):
    __slots__ = ("digest", "split", "shard", "num_examples", "files", "rejects", "num_captioned", "num_labelled", "num_single_label")
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    SPLIT_FIELD_NUMBER: _ClassVar[int]
    SHARD_FIELD_NUMBER: _ClassVar[int]
    NUM_EXAMPLES_FIELD_NUMBER: _ClassVar[int]
    FILES_FIELD_NUMBER: _ClassVar[int]
    REJECTS_FIELD_NUMBER: _ClassVar[int]
    NUM_CAPTIONED_FIELD_NUMBER: _ClassVar[int]
    NUM_LABELLED_FIELD_NUMBER: _ClassVar[int]
    NUM_SINGLE_LABEL_FIELD_NUMBER: _ClassVar[int]
    digest: str
    split: str
    shard: int
    num_examples: int
    files: _containers.RepeatedCompositeFieldContainer[File]
    rejects: _containers.RepeatedCompositeFieldContainer[Reject]
    num_captioned: int
    num_labelled: int
    num_single_label: int
    def __init__(self, digest: _Optional[str] = ..., split: _Optional[str] = ..., shard: _Optional[int] = ..., num_examples: _Optional[int] = ..., files: _Optional[_Iterable[_Union[File, _Mapping]]] = ..., rejects: _Optional[_Iterable[_Union[Reject, _Mapping]]] = ..., num_captioned: _Optional[int] = ..., num_labelled: _Optional[int] = ..., num_single_label: _Optional[int] = ...) -> None: ...

class File(_message.Message):
    __slots__ = ("path", "num_bytes", "sha256")
    PATH_FIELD_NUMBER: _ClassVar[int]
    NUM_BYTES_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    path: str
    num_bytes: int
    sha256: str
    def __init__(self, path: _Optional[str] = ..., num_bytes: _Optional[int] = ..., sha256: _Optional[str] = ...) -> None: ...

class Reject(_message.Message):
    __slots__ = ("id", "reason")
    ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    id: str
    reason: str
    def __init__(self, id: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...
