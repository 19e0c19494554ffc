"""What TensorFlow wrote, byte for byte. To write the golden file again, where TensorFlow is:

python -m imp_data.stores.tensorflow_test
"""

import pathlib

import numpy as np

from imp_data import records
from imp_data.records import Record
from imp_data.stores import tfrecord
from imp_data.stores.atomic import AtomicFile

GOLDEN = pathlib.Path(__file__).with_name("tensorflow.tfrecord")
RECORDS = (
    Record(
        id="bäume/1.png",
        arrays={
            "image-2": np.arange(12, dtype=np.uint8).reshape(2, 2, 3),
            "audio-2": np.linspace(-1, 1, 6, dtype=np.float32).reshape(2, 3),
        },
        texts=("ein Baum", "a tree"),
        labels=(3, 7),
    ),
    Record(id="2", arrays={"image-2": np.full((2, 2, 3), 255, np.uint8)}),
)


def test_we_read_what_tensorflow_wrote():
    found = [records.from_bytes(data) for data in tfrecord.TFRecordReader(GOLDEN)]
    for record, wanted in zip(found, RECORDS, strict=True):
        assert (record.id, record.texts, record.labels) == (wanted.id, wanted.texts, wanted.labels)
        assert record.arrays.keys() == wanted.arrays.keys()
        for key, array in wanted.arrays.items():
            np.testing.assert_array_equal(record.arrays[key], array)
            assert record.arrays[key].dtype == array.dtype


def test_we_write_what_tensorflow_writes(tmp_path):
    with AtomicFile(tmp_path / "ours") as file:
        for record in RECORDS:
            tfrecord.write(file, records.to_bytes(record))
    assert (tmp_path / "ours").read_bytes() == GOLDEN.read_bytes()


def main():
    """Writes the golden file by TensorFlow alone, and reads ours with it."""
    import tempfile

    import tensorflow as tf

    def feature(value):
        if isinstance(value[0], bytes):
            return tf.train.Feature(bytes_list=tf.train.BytesList(value=value))
        return tf.train.Feature(int64_list=tf.train.Int64List(value=value))

    with tf.io.TFRecordWriter(str(GOLDEN)) as writer:
        for record in RECORDS:
            content = {
                "id": feature([record.id.encode()]),
                "texts": feature([text.encode() for text in record.texts] or [b""]),
                "label": feature(record.labels or [-1]),
            }
            if not record.texts:
                content["texts"] = tf.train.Feature(bytes_list=tf.train.BytesList())
            for key, array in record.arrays.items():
                content[key] = feature([array.tobytes()])
                content[f"{key}/shape"] = feature(array.shape)
                content[f"{key}/dtype"] = feature([array.dtype.name.encode()])
            example = tf.train.Example(features=tf.train.Features(feature=content))
            writer.write(example.SerializeToString(deterministic=True))
    with tempfile.TemporaryDirectory() as folder:
        ours = pathlib.Path(folder) / "ours"
        with AtomicFile(ours) as file:
            for record in RECORDS:
                tfrecord.write(file, records.to_bytes(record))
        spec = {
            "id": tf.io.FixedLenFeature([], tf.string),
            "texts": tf.io.VarLenFeature(tf.string),
            "label": tf.io.VarLenFeature(tf.int64),
            "image-2": tf.io.FixedLenFeature([], tf.string),
            "image-2/shape": tf.io.FixedLenFeature([3], tf.int64),
        }
        for data, record in zip(tf.data.TFRecordDataset(str(ours)), RECORDS, strict=True):
            found = tf.io.parse_single_example(data, spec)
            image = tf.reshape(tf.io.decode_raw(found["image-2"], tf.uint8), found["image-2/shape"])
            assert (image.numpy() == record.arrays["image-2"]).all()
            assert found["id"].numpy().decode() == record.id
            assert tuple(tf.sparse.to_dense(found["label"]).numpy()) == (record.labels or (-1,))
            texts = tf.sparse.to_dense(found["texts"]).numpy()
            assert [text.decode() for text in texts] == list(record.texts)
    print(f"TensorFlow {tf.__version__} wrote {GOLDEN.name} and read ours")


if __name__ == "__main__":
    main()
