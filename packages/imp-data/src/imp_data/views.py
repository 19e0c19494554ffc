"""View: how a task wants to see one modality. The same views shape training shards and requests."""

import dataclasses
from typing import Literal, TypeAlias

Modality: TypeAlias = Literal["image", "video", "audio", "text"]


def _require(ok: bool, message: str) -> None:
    if not ok:
        raise ValueError(message)


# How values of each dtype lie on disk, whatever the machine.
ON_DISK = {"uint8": "u1", "float32": "<f4", "int32": "<i4"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImageView:
    """A square RGB image: uint8 [size, size, 3]."""

    size: int

    modality: Modality = dataclasses.field(default="image", init=False)
    dtype: str = dataclasses.field(default="uint8", init=False)

    def __post_init__(self) -> None:
        _require(self.size >= 1, f"image size {self.size} must be at least 1 pixel")

    @property
    def key(self) -> str:
        return f"image-{self.size}"

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.size, self.size, 3)


@dataclasses.dataclass(frozen=True, kw_only=True)
class VideoView:
    """A square RGB clip of `frames` frames sampled by timestamp at `fps`: uint8 [t, size, size, 3].

    A source that ends early repeats its last frame.
    """

    frames: int
    size: int
    fps: float

    modality: Modality = dataclasses.field(default="video", init=False)
    dtype: str = dataclasses.field(default="uint8", init=False)

    def __post_init__(self) -> None:
        _require(self.frames >= 1, f"video frames {self.frames} must be at least 1")
        _require(self.size >= 1, f"video size {self.size} must be at least 1 pixel")
        _require(self.fps > 0, f"video fps {self.fps} must be above 0")

    @property
    def key(self) -> str:
        return f"video-{self.frames}x{self.size}-{self.fps:g}fps"

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.frames, self.size, self.size, 3)


@dataclasses.dataclass(frozen=True, kw_only=True)
class AudioView:
    """A log-mel spectrogram: float32 [frames, num_mels]; shorter sources are padded with silence.

    The defaults are those of the paper's released code, but for the length.
    """

    frames: int
    num_mels: int = 128
    sample_rate: int = 16_000
    window: int = 2_048
    hop: int = 1_024
    fmin: float = 80.0
    fmax: float = 7_600.0

    modality: Modality = dataclasses.field(default="audio", init=False)
    dtype: str = dataclasses.field(default="float32", init=False)

    def __post_init__(self) -> None:
        for name in ("frames", "num_mels", "sample_rate", "window", "hop"):
            _require(
                getattr(self, name) >= 1, f"audio {name} {getattr(self, name)} must be at least 1"
            )
        _require(
            0 <= self.fmin < self.fmax <= self.sample_rate / 2,
            f"audio band {self.fmin}-{self.fmax} Hz must lie within 0-{self.sample_rate / 2} Hz",
        )

    @property
    def key(self) -> str:
        return f"audio-{self.frames}x{self.num_mels}-{self.hop}hop"

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.frames, self.num_mels)

    @property
    def seconds(self) -> float:
        return self.frames * self.hop / self.sample_rate


@dataclasses.dataclass(frozen=True, kw_only=True)
class TextView:
    """SentencePiece ids, right-padded with 0: int32 [length].

    Shards keep the text; the loader tokenizes.
    """

    length: int

    modality: Modality = dataclasses.field(default="text", init=False)
    dtype: str = dataclasses.field(default="int32", init=False)

    def __post_init__(self) -> None:
        _require(self.length >= 1, f"text length {self.length} must be at least 1 token")

    @property
    def key(self) -> str:
        return f"text-{self.length}"

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.length,)


View: TypeAlias = ImageView | VideoView | AudioView | TextView

_KINDS: dict[str, type[View]] = {
    "image": ImageView,
    "video": VideoView,
    "audio": AudioView,
    "text": TextView,
}


def to_json(view: View) -> dict[str, object]:
    """A JSON object that `from_json` turns back into the same view."""
    return dataclasses.asdict(view)


def from_json(value: dict[str, object]) -> View:
    """Raises ValueError for an unknown modality or field."""
    fields = dict(value)
    modality = fields.pop("modality", None)
    fields.pop("dtype", None)
    if modality not in _KINDS:
        raise ValueError(f"view modality {modality!r} is unknown; one of {', '.join(_KINDS)}")
    kind = _KINDS[modality]
    known = {f.name for f in dataclasses.fields(kind) if f.init}
    if unknown := set(fields) - known:
        raise ValueError(f"{modality} view has no field {sorted(unknown)}; it has {sorted(known)}")
    return kind(**fields)  # type: ignore[arg-type]
