import numpy as np
import pytest

from imp_data.stores import tensorstore
from imp_data.stores.atomic import AtomicFile
from imp_data.views import AudioView, ImageView

IMAGE = ImageView(size=4)
SHARD = 5


def write(root, view, arrays):
    shards = -(-len(arrays) // SHARD)
    tensorstore.write_metadata(root, "train", view, num_shards=shards, shard_size=SHARD)
    for shard in range(shards):
        with AtomicFile(tensorstore.shard_path(root, "train", view, shard)) as file:
            writer = tensorstore.ShardWriter(file, view, SHARD)
            for array in arrays[shard * SHARD : (shard + 1) * SHARD]:
                writer.append(array)
            writer.finish()
    return tensorstore.ArrayReader(root, "train", view)


@pytest.fixture
def images():
    arrays = np.random.default_rng(0).integers(0, 256, (8, *IMAGE.shape), np.uint8)
    arrays[3] = 0
    return arrays


def test_rows_come_back_in_any_order(tmp_path, images):
    reader = write(tmp_path, IMAGE, images)
    rows = np.array([7, 0, 3, 3, 5])
    assert (reader.read(rows) == images[rows]).all()


def test_spectrograms_come_back_to_the_bit(tmp_path):
    view = AudioView(frames=3, num_mels=2)
    arrays = np.random.default_rng(0).normal(size=(6, 3, 2)).astype(np.float32)
    assert (write(tmp_path, view, arrays).read(np.arange(6)) == arrays).all()


def test_an_absent_row_is_an_error_not_zeros(tmp_path, images):
    reader = write(tmp_path, IMAGE, images)
    with pytest.raises(ValueError, match="is damaged"):
        reader.read(np.array([8]))
    tensorstore.shard_path(tmp_path, "train", IMAGE, 0).unlink()
    with pytest.raises(ValueError, match="is damaged"):
        tensorstore.ArrayReader(tmp_path, "train", IMAGE).read(np.array([0]))


def test_any_flipped_byte_of_a_row_is_found(tmp_path, images):
    write(tmp_path, IMAGE, images[:1])
    path = tensorstore.shard_path(tmp_path, "train", IMAGE, 0)
    sound = path.read_bytes()
    for place in range(0, len(sound), 7):
        path.write_bytes(sound[:place] + bytes([sound[place] ^ 1]) + sound[place + 1 :])
        with pytest.raises(ValueError, match="is damaged"):
            tensorstore.ArrayReader(tmp_path, "train", IMAGE).read(np.array([0]))


def test_no_array_says_so(tmp_path):
    with pytest.raises(ValueError, match="no readable array"):
        tensorstore.ArrayReader(tmp_path, "train", IMAGE)
