from google.protobuf import struct_pb2 as _struct_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Input(_message.Message):
    __slots__ = ("image", "video", "audio", "text")
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    VIDEO_FIELD_NUMBER: _ClassVar[int]
    AUDIO_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    image: bytes
    video: bytes
    audio: bytes
    text: str
    def __init__(self, image: _Optional[bytes] = ..., video: _Optional[bytes] = ..., audio: _Optional[bytes] = ..., text: _Optional[str] = ...) -> None: ...

class ItemError(_message.Message):
    __slots__ = ("code", "message")
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    code: int
    message: str
    def __init__(self, code: _Optional[int] = ..., message: _Optional[str] = ...) -> None: ...

class EmbedItem(_message.Message):
    __slots__ = ("input", "target")
    INPUT_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    input: Input
    target: str
    def __init__(self, input: _Optional[_Union[Input, _Mapping]] = ..., target: _Optional[str] = ...) -> None: ...

class EmbedRequest(_message.Message):
    __slots__ = ("items",)
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    items: _containers.RepeatedCompositeFieldContainer[EmbedItem]
    def __init__(self, items: _Optional[_Iterable[_Union[EmbedItem, _Mapping]]] = ...) -> None: ...

class Embedding(_message.Message):
    __slots__ = ("values", "source", "target")
    VALUES_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    values: _containers.RepeatedScalarFieldContainer[float]
    source: str
    target: str
    def __init__(self, values: _Optional[_Iterable[float]] = ..., source: _Optional[str] = ..., target: _Optional[str] = ...) -> None: ...

class EmbedResult(_message.Message):
    __slots__ = ("embedding", "error")
    EMBEDDING_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    embedding: Embedding
    error: ItemError
    def __init__(self, embedding: _Optional[_Union[Embedding, _Mapping]] = ..., error: _Optional[_Union[ItemError, _Mapping]] = ...) -> None: ...

class EmbedResponse(_message.Message):
    __slots__ = ("results", "model_digest")
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    MODEL_DIGEST_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[EmbedResult]
    model_digest: str
    def __init__(self, results: _Optional[_Iterable[_Union[EmbedResult, _Mapping]]] = ..., model_digest: _Optional[str] = ...) -> None: ...

class GetModelRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetModelResponse(_message.Message):
    __slots__ = ("digest", "modalities", "pairs", "limits", "metadata", "name", "models", "classifiers")
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    MODALITIES_FIELD_NUMBER: _ClassVar[int]
    PAIRS_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    MODELS_FIELD_NUMBER: _ClassVar[int]
    CLASSIFIERS_FIELD_NUMBER: _ClassVar[int]
    digest: str
    modalities: _containers.RepeatedCompositeFieldContainer[ModalityInfo]
    pairs: _containers.RepeatedCompositeFieldContainer[PairInfo]
    limits: Limits
    metadata: _struct_pb2.Struct
    name: str
    models: _containers.RepeatedScalarFieldContainer[str]
    classifiers: _containers.RepeatedCompositeFieldContainer[ClassifierInfo]
    def __init__(self, digest: _Optional[str] = ..., modalities: _Optional[_Iterable[_Union[ModalityInfo, _Mapping]]] = ..., pairs: _Optional[_Iterable[_Union[PairInfo, _Mapping]]] = ..., limits: _Optional[_Union[Limits, _Mapping]] = ..., metadata: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., name: _Optional[str] = ..., models: _Optional[_Iterable[str]] = ..., classifiers: _Optional[_Iterable[_Union[ClassifierInfo, _Mapping]]] = ...) -> None: ...

class ClassifierInfo(_message.Message):
    __slots__ = ("name", "class_names")
    NAME_FIELD_NUMBER: _ClassVar[int]
    CLASS_NAMES_FIELD_NUMBER: _ClassVar[int]
    name: str
    class_names: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, name: _Optional[str] = ..., class_names: _Optional[_Iterable[str]] = ...) -> None: ...

class ModalityInfo(_message.Message):
    __slots__ = ("modality", "view", "view_fields", "lengths")
    MODALITY_FIELD_NUMBER: _ClassVar[int]
    VIEW_FIELD_NUMBER: _ClassVar[int]
    VIEW_FIELDS_FIELD_NUMBER: _ClassVar[int]
    LENGTHS_FIELD_NUMBER: _ClassVar[int]
    modality: str
    view: str
    view_fields: _struct_pb2.Struct
    lengths: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, modality: _Optional[str] = ..., view: _Optional[str] = ..., view_fields: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., lengths: _Optional[_Iterable[int]] = ...) -> None: ...

class PairInfo(_message.Message):
    __slots__ = ("source", "target", "dim", "batch_size")
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    DIM_FIELD_NUMBER: _ClassVar[int]
    BATCH_SIZE_FIELD_NUMBER: _ClassVar[int]
    source: str
    target: str
    dim: int
    batch_size: int
    def __init__(self, source: _Optional[str] = ..., target: _Optional[str] = ..., dim: _Optional[int] = ..., batch_size: _Optional[int] = ...) -> None: ...

class Limits(_message.Message):
    __slots__ = ("max_items", "max_message_bytes", "max_text_bytes", "max_classes", "max_prompts", "max_k", "max_media_bytes", "max_media_pixels", "max_media_seconds", "max_decode_seconds", "max_decode_bytes")
    MAX_ITEMS_FIELD_NUMBER: _ClassVar[int]
    MAX_MESSAGE_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAX_TEXT_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAX_CLASSES_FIELD_NUMBER: _ClassVar[int]
    MAX_PROMPTS_FIELD_NUMBER: _ClassVar[int]
    MAX_K_FIELD_NUMBER: _ClassVar[int]
    MAX_MEDIA_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAX_MEDIA_PIXELS_FIELD_NUMBER: _ClassVar[int]
    MAX_MEDIA_SECONDS_FIELD_NUMBER: _ClassVar[int]
    MAX_DECODE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    MAX_DECODE_BYTES_FIELD_NUMBER: _ClassVar[int]
    max_items: int
    max_message_bytes: int
    max_text_bytes: int
    max_classes: int
    max_prompts: int
    max_k: int
    max_media_bytes: int
    max_media_pixels: int
    max_media_seconds: float
    max_decode_seconds: float
    max_decode_bytes: int
    def __init__(self, max_items: _Optional[int] = ..., max_message_bytes: _Optional[int] = ..., max_text_bytes: _Optional[int] = ..., max_classes: _Optional[int] = ..., max_prompts: _Optional[int] = ..., max_k: _Optional[int] = ..., max_media_bytes: _Optional[int] = ..., max_media_pixels: _Optional[int] = ..., max_media_seconds: _Optional[float] = ..., max_decode_seconds: _Optional[float] = ..., max_decode_bytes: _Optional[int] = ...) -> None: ...

class ClassifyRequest(_message.Message):
    __slots__ = ("inputs", "class_names", "templates", "top_k", "classifier")
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    CLASS_NAMES_FIELD_NUMBER: _ClassVar[int]
    TEMPLATES_FIELD_NUMBER: _ClassVar[int]
    TOP_K_FIELD_NUMBER: _ClassVar[int]
    CLASSIFIER_FIELD_NUMBER: _ClassVar[int]
    inputs: _containers.RepeatedCompositeFieldContainer[Input]
    class_names: _containers.RepeatedScalarFieldContainer[str]
    templates: _containers.RepeatedScalarFieldContainer[str]
    top_k: int
    classifier: str
    def __init__(self, inputs: _Optional[_Iterable[_Union[Input, _Mapping]]] = ..., class_names: _Optional[_Iterable[str]] = ..., templates: _Optional[_Iterable[str]] = ..., top_k: _Optional[int] = ..., classifier: _Optional[str] = ...) -> None: ...

class ClassProbability(_message.Message):
    __slots__ = ("class_name", "index", "probability")
    CLASS_NAME_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    PROBABILITY_FIELD_NUMBER: _ClassVar[int]
    class_name: str
    index: int
    probability: float
    def __init__(self, class_name: _Optional[str] = ..., index: _Optional[int] = ..., probability: _Optional[float] = ...) -> None: ...

class Classes(_message.Message):
    __slots__ = ("classes",)
    CLASSES_FIELD_NUMBER: _ClassVar[int]
    classes: _containers.RepeatedCompositeFieldContainer[ClassProbability]
    def __init__(self, classes: _Optional[_Iterable[_Union[ClassProbability, _Mapping]]] = ...) -> None: ...

class ClassifyResult(_message.Message):
    __slots__ = ("classes", "error")
    CLASSES_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    classes: Classes
    error: ItemError
    def __init__(self, classes: _Optional[_Union[Classes, _Mapping]] = ..., error: _Optional[_Union[ItemError, _Mapping]] = ...) -> None: ...

class ClassifyResponse(_message.Message):
    __slots__ = ("results", "model_digest")
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    MODEL_DIGEST_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[ClassifyResult]
    model_digest: str
    def __init__(self, results: _Optional[_Iterable[_Union[ClassifyResult, _Mapping]]] = ..., model_digest: _Optional[str] = ...) -> None: ...
