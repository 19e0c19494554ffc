"""Text: bytes -> str."""

import unicodedata

from imp_data.media.limits import DEFAULT_LIMITS, Limits, MediaError


def decode(data: bytes, *, limits: Limits = DEFAULT_LIMITS) -> str:
    """UTF-8, with or without a byte-order mark, white space collapsed. Raises MediaError."""
    try:
        return clean(data.decode("utf-8-sig"), limits=limits)
    except UnicodeDecodeError as error:
        raise MediaError(
            f"byte {error.start} is not UTF-8 (0x{data[error.start]:02x}); save it as UTF-8"
        ) from error


def clean(text: str, *, limits: Limits = DEFAULT_LIMITS) -> str:
    """White space collapsed to single spaces; MediaError for empty, overlong or control text."""
    text = " ".join(text.split())
    if not text:
        raise MediaError("the text is empty")
    if len(text.encode("utf-8", "surrogatepass")) > limits.max_text_bytes:
        raise MediaError(f"the text is over the limit of {limits.max_text_bytes} bytes")
    for character in text:
        if unicodedata.category(character) in ("Cc", "Cs"):
            raise MediaError(f"the text holds the control character U+{ord(character):04X}")
    return text
