import numpy as np
import pytest

from imp_data import records
from imp_data.records import Record


def test_records_come_back():
    rng = np.random.default_rng(0)
    record = Record(
        id="bäume/1.png",
        arrays={
            "image-2": rng.integers(0, 256, (2, 2, 3), np.uint8),
            "audio-3": rng.normal(size=(3, 4)).astype(np.float32),
        },
        texts=("ein Baum", "a tree"),
        labels=(3, 7),
    )
    found = records.from_bytes(records.to_bytes(record))
    assert (found.id, found.texts, found.labels) == (record.id, record.texts, record.labels)
    assert found.arrays.keys() == record.arrays.keys()
    for key, array in record.arrays.items():
        assert found.arrays[key].dtype == array.dtype
        assert (found.arrays[key] == array).all()


def test_no_label_and_no_texts_come_back():
    found = records.from_bytes(records.to_bytes(Record(id="x", arrays={})))
    assert (found.labels, found.texts) == ((), ())


def test_the_bytes_are_a_tf_train_example():
    """By hand from its definition: map entries of Feature, the kinds at fields 1 and 3."""
    data = records.to_bytes(Record(id="a", arrays={}, labels=(1,)))
    parts = [
        b"\n\x0b\n\x02id\x12\x05\n\x03\n\x01a",
        b"\n\x0e\n\x05label\x12\x05\x1a\x03\n\x01\x01",
        b"\n\x0b\n\x05texts\x12\x02\n\x00",
    ]
    body = b"".join(parts)
    assert data == b"\n" + bytes([len(body)]) + body


@pytest.mark.parametrize("data", [b"\xff\xff", b""])
def test_other_bytes_are_refused(data):
    with pytest.raises(ValueError, match=r"not a tf\.train\.Example|lacks"):
        records.from_bytes(data)
