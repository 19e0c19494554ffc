import numpy as np
import pytest
import tensorstore as ts

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


@pytest.mark.parametrize("view", [IMAGE, AudioView(frames=3, num_mels=2)])
def test_tensorstore_itself_reads_the_same(tmp_path, view):
    arrays = np.random.default_rng(0).integers(0, 256, (12, *view.shape)).astype(view.dtype)
    reader = write(tmp_path, view, arrays)
    path = f"{tensorstore.array_path(tmp_path, 'train', view)}/"
    spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": path}}
    theirs = ts.open(spec, open=True, read=True).result()
    assert (theirs[:12].read().result() == arrays).all()
    assert theirs.dtype.numpy_dtype == reader.read(np.arange(1)).dtype
    assert (theirs.shape[0], theirs.chunk_layout.write_chunk.shape[0]) == (15, SHARD)


def test_an_absent_row_is_an_error_not_zeros(tmp_path, images):
    reader = write(tmp_path, IMAGE, images)
    with pytest.raises(ValueError, match="is damaged"):
        reader.read(np.array([8]))
    tensorstore.shard_path(tmp_path, "train", IMAGE, 0).unlink()
    with pytest.raises(ValueError, match=r"c/0/0/0/0 is missing \(imp-data verify\)"):
        tensorstore.ArrayReader(tmp_path, "train", IMAGE).read(np.array([0]))


def test_any_flipped_byte_of_a_row_is_found(tmp_path, images):
    reader = write(tmp_path, IMAGE, images[:1])
    path = tensorstore.shard_path(tmp_path, "train", IMAGE, 0)
    sound = path.read_bytes()
    chunk = images[0].nbytes + 4
    for place in range(0, len(sound), 7):
        path.write_bytes(sound[:place] + bytes([sound[place] ^ 1]) + sound[place + 1 :])
        if place < chunk:
            with pytest.raises(ValueError, match=r"0 is damaged \(imp-data verify\): row 0"):
                reader.read(np.array([0]))
        else:
            # TensorStore's index: we don't go by it.
            assert (reader.read(np.array([0])) == images[:1]).all()
    path.write_bytes(sound[: chunk - 1])
    with pytest.raises(ValueError, match="is damaged"):
        reader.read(np.array([0]))


@pytest.mark.parametrize("content", [None, b"{", b"[]", b'{"shape": []}'])
def test_no_array_says_so(tmp_path, content):
    if content is not None:
        path = tensorstore.array_path(tmp_path, "train", IMAGE)
        path.mkdir(parents=True)
        (path / "zarr.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"zarr\.json describes no readable array; rebuild"):
        tensorstore.ArrayReader(tmp_path, "train", IMAGE)


def test_another_layout_is_refused(tmp_path, images):
    """Its rows lie elsewhere: a compressed array, say, that is readable zarr."""
    write(tmp_path, IMAGE, images)
    path = tensorstore.array_path(tmp_path, "train", IMAGE) / "zarr.json"
    path.write_text(path.read_text().replace('"uint8"', '"int8"'))
    with pytest.raises(ValueError, match="describes another array than image-4"):
        tensorstore.ArrayReader(tmp_path, "train", IMAGE)
