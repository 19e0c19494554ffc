"""What an input may cost, checked before it is decoded, and the error for one that is no use."""

import dataclasses


class MediaError(ValueError):
    """An input that can't be decoded or is beyond the limits; its text is a one-line reason."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Limits:
    """Bounds for one input file; the defaults suit files that a user has on disk.

    `max_bytes` of the encoded file, `max_pixels` of an image or of one video frame, `max_seconds`
    of a recording by its container's word, `max_frames` decoded from one video.
    """

    max_bytes: int = 1 << 30
    max_pixels: int = 50_000_000
    max_seconds: float = 3_600.0
    max_frames: int = 100_000
    max_text_bytes: int = 1 << 16

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            if getattr(self, field.name) <= 0:
                raise ValueError(f"limit {field.name} {getattr(self, field.name)} must be above 0")

    def check_bytes(self, data: bytes) -> None:
        """Raises MediaError for an empty file or one over `max_bytes`."""
        self.check_size(len(data))

    def check_size(self, num_bytes: int) -> None:
        """The same by the file's size, before it is read."""
        if not num_bytes:
            raise MediaError("the file is empty")
        if num_bytes > self.max_bytes:
            raise MediaError(f"{num_bytes} bytes are over the limit of {self.max_bytes}")

    def check_pixels(self, width: int, height: int) -> None:
        """Raises MediaError for a picture without pixels or with more than `max_pixels`."""
        if width < 1 or height < 1:
            raise MediaError(f"{width}x{height} is no picture")
        if width * height > self.max_pixels:
            raise MediaError(
                f"{width}x{height} pixels are over the limit of {self.max_pixels} in all"
            )

    def check_seconds(self, seconds: float) -> None:
        """Raises MediaError for a recording longer than `max_seconds`."""
        if seconds > self.max_seconds:
            raise MediaError(f"{seconds:.1f} s are over the limit of {self.max_seconds:g} s")


DEFAULT_LIMITS = Limits()
