"""A thousand random corruptions: no crash, no hang, and no wrong example where a sum can tell."""

import io
import json
import tarfile
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from imp_data import media, sources
from imp_data.conftest import make_clip, make_tone
from imp_data.media import DEFAULT_LIMITS, MediaError
from imp_data.views import AudioView, ImageView, VideoView

IMAGE = ImageView(size=8)
VIDEO = VideoView(frames=4, size=8, fps=4.0)
AUDIO = AudioView(frames=8)
# Far above what any of these takes: a decoder that hangs is what is looked for.
SECONDS = 20.0


def corrupted(data, seed):
    """A third loses its end, a third has one byte changed, a third has four or a stretch lost."""
    rng = np.random.default_rng(seed)
    broken = bytearray(data)
    if seed % 3 == 0:
        return bytes(broken[: rng.integers(len(broken))])
    if seed % 3 == 1:
        broken[rng.integers(len(broken))] ^= int(rng.integers(1, 256))
    elif seed % 2:
        for place in rng.integers(0, len(broken), 4):
            broken[place] ^= int(rng.integers(1, 256))
    else:
        start = rng.integers(len(broken))
        del broken[start : start + rng.integers(1, 64)]
    return bytes(broken)


def picture(kind="PNG", seed=0, **options):
    out = io.BytesIO()
    noise = np.random.default_rng(seed).integers(0, 256, (24, 24, 3), np.uint8)
    if options:
        options |= {"append_images": [Image.fromarray(noise[::-1])], "duration": 500}
    Image.fromarray(noise).save(out, kind, **options)
    return out.getvalue()


LEVELS = [20, 60, 100, 140, 180, 220]
# kind: (bytes, view, corruptions, whether the format's sums tell a changed byte)
MEDIA = {
    "png": (picture("PNG"), IMAGE, 80, True),
    "jpeg": (picture("JPEG"), IMAGE, 60, False),
    "gif": (picture("GIF"), IMAGE, 40, False),
    "webp": (picture("WEBP"), IMAGE, 40, False),
    "tiff": (picture("TIFF"), IMAGE, 40, False),
    "bmp": (picture("BMP"), IMAGE, 20, False),
    "jpeg2000": (picture("JPEG2000"), IMAGE, 20, False),
    "avif": (picture("AVIF"), IMAGE, 20, False),
    "gif-video": (picture("GIF", save_all=True), VIDEO, 40, False),
    "webp-video": (picture("WEBP", save_all=True), VIDEO, 40, False),
    "mp4": (make_clip(LEVELS, tone=440), VIDEO, 80, False),
    "webm": (make_clip(LEVELS, kind="webm"), VIDEO, 60, False),
    "avi": (make_clip(LEVELS, kind="avi"), VIDEO, 40, False),
    "mpegts": (make_clip(LEVELS, kind="mpegts"), VIDEO, 40, False),
    "mp4-sound": (make_clip(LEVELS, tone=440), AUDIO, 60, False),
    "wav": (make_tone(440), AUDIO, 40, False),
    "float-wav": (make_tone(440, subtype="FLOAT"), AUDIO, 40, False),
    "flac": (make_tone(440, kind="FLAC"), AUDIO, 60, True),
    "ogg": (make_tone(440, kind="OGG"), AUDIO, 60, True),
    "mp3": (make_tone(440, kind="MP3"), AUDIO, 40, False),
    "aiff": (make_tone(440, kind="AIFF"), AUDIO, 20, False),
}


@pytest.mark.filterwarnings("ignore:::PIL")
@pytest.mark.parametrize("kind", MEDIA)
def test_media(kind):
    data, view, count, summed = MEDIA[kind]
    sound = media.load(data, view)
    reasons = []
    for seed in range(count):
        broken = corrupted(data, seed)
        began = time.monotonic()
        try:
            array = media.load(broken, view)
        except MediaError as error:
            reasons.append(str(error))
        else:
            assert array.shape == view.shape
            assert np.isfinite(array).all()
            assert not summed or (array == sound).all(), seed
        assert time.monotonic() - began < SECONDS, seed
    assert not any("\n" in reason for reason in reasons)
    assert len(reasons) >= count // 5


PICTURES = {f"{number}.png": picture(seed=number) for number in range(6)}


def tar_of(folder):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, data in PICTURES.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return "webdataset", out.getvalue()


def parquet_of(folder):
    out = io.BytesIO()
    rows = [{"bytes": data, "caption": name} for name, data in PICTURES.items()]
    table = pa.Table.from_pylist(rows)
    pq.write_table(table, out, row_group_size=2, write_page_checksum=True, compression="zstd")
    return "parquet", out.getvalue()


def csv_of(folder):
    rows = "".join(f'{name},"a caption, of {name}",label\n' for name in PICTURES)
    return "csv", f"path,caption,label\n{rows}".encode()


def jsonl_of(folder):
    rows = [{"path": name, "captions": [name], "label": 3} for name in PICTURES]
    return "jsonl", "".join(json.dumps(row) + "\n" for row in rows).encode()


def coco_of(folder):
    images = [{"id": number, "file_name": name} for number, name in enumerate(PICTURES)]
    captions = [{"image_id": image["id"], "caption": image["file_name"]} for image in images]
    return "coco", json.dumps({"images": images, "annotations": captions}).encode()


@pytest.mark.filterwarnings("ignore:::PIL")
@pytest.mark.parametrize("make", [tar_of, parquet_of, csv_of, jsonl_of, coco_of])
def test_containers_and_manifests(tmp_path, make):
    """A file that is refused is refused in words; an item that is listed is the one it says."""
    kind, data = make(tmp_path)
    for name, content in PICTURES.items():
        (tmp_path / name).write_bytes(content)
    arrays = {name: media.load(content, IMAGE) for name, content in PICTURES.items()}
    reasons = []
    for seed in range(60):
        path = tmp_path / f"m{seed}"
        path.write_bytes(corrupted(data, seed))
        began = time.monotonic()
        try:
            items = sources.read(f"{kind}:{path}", modalities=["image"])
        except ValueError as error:
            reasons.append(str(error))
            continue
        for item in items:
            if item.problem is not None:
                reasons.append(item.problem)
                continue
            try:
                found = media.load(sources.read_bytes(item, DEFAULT_LIMITS), IMAGE)
            except (MediaError, OSError) as error:
                reasons.append(str(error))
                continue
            name = item.texts[0] if kind == "parquet" else item.id.rpartition("/")[2]
            name = name if name.endswith(".png") else f"{name}.png"
            assert (found == arrays[name]).all(), (seed, item)
        assert time.monotonic() - began < SECONDS, seed
    assert not any("\n" in reason for reason in reasons)
    assert len(reasons) >= 20


def test_there_are_a_thousand():
    assert sum(count for _, _, count, _ in MEDIA.values()) + 5 * 60 >= 1000
