"""What decoders overlook: sums that don't match, and files cut short that read as shorter ones."""

import struct
import zlib

from imp_data.media.limits import MediaError

# Ogg's sum is zlib's with every bit the other way round.
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
_MAX_PAGE = 27 + 255 + 255 * 255
_TS_PACKET = 188
_CUT = "the file is cut short"


def check(data: bytes) -> None:
    """Raises MediaError for a PNG, Ogg, WAV, AIFF or MPEG-TS file that is not as it was written.

    Other formats carry no sums, or their decoders look at them.
    """
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        _check_png(data)
    elif data[:4] == b"OggS":
        _check_ogg(data)
    elif data[:4] == b"RIFF" and data[8:12] == b"WAVE":
        _check_wav(data)
    elif data[:4] == b"FORM":
        size = int.from_bytes(data[4:8], "big")
        if len(data) < 8 + size:
            raise MediaError(f"holds {len(data)} of {8 + size} bytes: {_CUT}")
    elif data[:1] == b"G" and data[_TS_PACKET : _TS_PACKET + 1] == b"G" and len(data) % _TS_PACKET:
        raise MediaError(f"ends within an MPEG-TS packet: {_CUT}")


def _check_png(data: bytes) -> None:
    """Pillow passes over the sums of pixels."""
    position, kind = 8, b""
    while kind != b"IEND":
        if position + 12 > len(data):
            raise MediaError(f"the end of the PNG is missing: {_CUT}")
        num_bytes, kind = struct.unpack_from(">I4s", data, position)
        end = position + 8 + num_bytes
        if end + 4 > len(data):
            raise MediaError(f"PNG chunk {kind!r} holds less than {num_bytes} bytes: {_CUT}")
        # Pillow refuses the other critical chunks itself, and metadata changes no pixel.
        if kind in (b"IDAT", b"tRNS"):
            (written,) = struct.unpack_from(">I", data, end)
            if zlib.crc32(memoryview(data)[position + 4 : end]) != written:
                raise MediaError(f"PNG chunk {kind!r} at byte {position} has another checksum")
        position = end + 4


def _check_ogg(data: bytes) -> None:
    """libogg passes over pages whose sum doesn't match, and a missing end."""
    position, flags = 0, 0
    while position < len(data):
        page = data[position : position + _MAX_PAGE]
        if page[:4] != b"OggS" or len(page) < 27 or len(page) < 27 + page[26]:
            raise MediaError(f"byte {position} begins no whole Ogg page: {_CUT}")
        num_bytes = 27 + page[26] + sum(page[27 : 27 + page[26]])
        if num_bytes > len(page):
            raise MediaError(f"the last Ogg page is missing: {_CUT}")
        page, flags = page[:num_bytes], page[5]
        (written,) = struct.unpack_from("<I", page, 22)
        if ogg_sum(page[:22] + bytes(4) + page[26:]) != written:
            raise MediaError(f"the Ogg page at byte {position} has another checksum")
        position += num_bytes
    if not flags & 0x04:
        raise MediaError(f"the last Ogg page is missing: {_CUT}")


def ogg_sum(page: bytes) -> int:
    """CRC-32 of polynomial 0x04c11db7, not reflected, from 0."""
    reflected = zlib.crc32(page.translate(_REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{reflected:032b}"[::-1], 2)


def _check_wav(data: bytes) -> None:
    """libsndfile reads what is left of the samples without a word."""
    position = 12
    while position + 8 <= len(data):
        name, size = struct.unpack_from("<4sI", data, position)
        if name == b"data":
            # Programs that stream write 0 or the largest number here.
            if 0 < size < 0x7FFF0000 and position + 8 + size > len(data):
                held = len(data) - position - 8
                raise MediaError(f"holds {held} of {size} bytes of samples: {_CUT}")
            return
        position += 8 + size + size % 2
    raise MediaError(f"has no audio samples: {_CUT}")
