import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imp_data.stores import tfrecord
from imp_data.stores.atomic import AtomicFile


def crc32c(data):
    """The polynomial, bit by bit."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 * (crc & 1))
    return crc ^ 0xFFFFFFFF


def written(path, records):
    with AtomicFile(path) as file:
        for record in records:
            tfrecord.write(file, record)
    return path


def test_framing_is_the_format_s(tmp_path):
    def masked(data):
        crc = crc32c(data)
        return (((crc >> 15) | (crc << 17 & 0xFFFFFFFF)) + 0xA282EAD8) & 0xFFFFFFFF

    length = struct.pack("<Q", 3)
    wanted = length + struct.pack("<I", masked(length)) + b"imp" + struct.pack("<I", masked(b"imp"))
    assert written(tmp_path / "x", [b"imp"]).read_bytes() == wanted
    assert crc32c(b"123456789") == 0xE3069283


@given(records=st.lists(st.binary(max_size=40), max_size=12))
def test_records_come_back(tmp_path_factory, records):
    path = written(tmp_path_factory.mktemp("t") / "x", records)
    reader = tfrecord.TFRecordReader(path)
    assert list(reader) == records
    assert [reader[i] for i in reversed(range(len(reader)))] == records[::-1]


def test_any_flipped_byte_is_found(tmp_path):
    path = written(tmp_path / "x", [b"first", b"second"])
    sound = path.read_bytes()
    for place in range(len(sound)):
        path.write_bytes(sound[:place] + bytes([sound[place] ^ 4]) + sound[place + 1 :])
        with pytest.raises(ValueError, match=r"corrupt|cut short"):
            list(tfrecord.TFRecordReader(path))


def test_a_cut_file_is_found(tmp_path):
    path = written(tmp_path / "x", [b"first", b"second"])
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(ValueError, match="record 1 is cut short"):
        tfrecord.TFRecordReader(path)
    with pytest.raises(FileNotFoundError, match="no TFRecord file"):
        tfrecord.TFRecordReader(tmp_path / "none")
