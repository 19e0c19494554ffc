"""Files that are no use, each broken by hand in its own way: rejects with a reason, no more."""

import io
import json
import struct
import tarfile
import zlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
from PIL import Image

from imp_data import media, verify
from imp_data.conftest import make_clip, make_tone
from imp_data.media import Limits
from imp_data.pipelines.build import build_dataset
from imp_data.stores.rows import Rows
from imp_data.views import AudioView, ImageView, VideoView

VIEWS = {
    "image": ImageView(size=8),
    "video": VideoView(frames=8, size=8, fps=8.0),
    "audio": AudioView(frames=8),
}
LIMITS = Limits(max_bytes=2_000_000, max_pixels=10_000_000, max_seconds=60.0)
CUT = "cut short|broken|not a readable|truncated|no audio|no video|end of the"


def picture(kind="PNG", size=(24, 16), **options):
    out = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (*size[::-1], 3), np.uint8)
    Image.fromarray(noise).save(out, kind, **options)
    return out.getvalue()


def animation(kind):
    frames = [Image.new("RGB", (16, 16), (level,) * 3) for level in (10, 90, 200)]
    options = {} if kind == "GIF" else {"lossless": True}
    return picture(kind, (16, 16), save_all=True, append_images=frames, duration=100, **options)


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_of(width, height, body=b""):
    """A PNG that says it has these dimensions."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(body)) + chunk(b"IEND", b"")


def recording(samples, kind="WAV", subtype=None, rate=16_000):
    out = io.BytesIO()
    soundfile.write(out, samples, rate, format=kind, subtype=subtype)
    return out.getvalue()


def flipped(data, place):
    broken = bytearray(data)
    broken[place] ^= 0xFF
    return bytes(broken)


def share(data, part):
    return data[: int(len(data) * part)]


def images():
    """name -> (bytes, what the reason says)."""
    png, jpeg, exif = picture(), picture("JPEG"), Image.Exif()
    exif[0x0112] = 77
    bomb = png_of(30_000, 30_000, bytes(3_000_000))
    return {
        "zero.png": (b"", "the file is empty"),
        "one-byte.png": (b"\x89", "not a readable image"),
        "zeros.png": (bytes(500), "not a readable image"),
        "text.jpg": (b"This is no picture.\n", "not a readable image"),
        "html.jpg": (b"<html><body>404 Not Found</body></html>", "not a readable image"),
        "sound.png": (make_tone(440), "not a readable image"),
        "video.webp": (make_clip([20] * 4), "not a readable image"),
        "script.png": (
            b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
            "not a readable image",
        ),
        "no-end.png": (png[:-12], "the end of the PNG is missing"),
        "signature.png": (png[:8], "the end of the PNG is missing"),
        "head.png": (png[:33], "the end of the PNG is missing"),
        "half.png": (share(png, 0.5), "less than"),
        "sum.png": (flipped(png, -20), "another checksum"),
        "bomb.png": (bomb, "exceeds limit"),
        "wide.png": (png_of(2**31 - 1, 1), "exceeds limit"),
        "huge.png": (png_of(9000, 9000), "9000x9000 pixels are over the limit of 10000000"),
        "flat.png": (png_of(0, 10), "0x10 is no picture|not a readable image"),
        "short.png": (png_of(100, 100, bytes(50)), "not a readable image"),
        "float.tiff": (
            picture_of(np.full((8, 8), 0.5, np.float32), "TIFF"),
            "mode F have no known range",
        ),
        "start.jpg": (jpeg[:4], "not a readable image"),
        "head.jpg": (jpeg[:300], "not a readable image"),
        "half.jpg": (share(jpeg, 0.6), "not a readable image"),
        "tables.jpg": (jpeg.replace(b"\xff\xdb", b"\xff\xfe"), "not a readable image"),
        "half.gif": (share(picture("GIF"), 0.5), "not a readable image"),
        "half.webp": (share(picture("WEBP"), 0.7), "not a readable image"),
        "half.tif": (share(picture("TIFF"), 0.5), "not a readable image"),
        "half.bmp": (share(picture("BMP"), 0.5), "not a readable image"),
        "half.avif": (share(picture("AVIF"), 0.6), "not a readable image"),
        "half.jp2": (share(picture("JPEG2000"), 0.5), "not a readable image"),
        "dimensions.ppm": (b"P6 99999999 99999999 255\n", "pixels are over|not a readable"),
        "icon.ico": (b"\0\0\1\0\xff\xff" + bytes(30), "not a readable image|is no picture"),
        "large.png": (png + bytes(2_000_000), "over the limit of 2000000"),
    }


def picture_of(array, kind):
    out = io.BytesIO()
    Image.fromarray(array).save(out, kind)
    return out.getvalue()


def videos():
    mp4 = make_clip([20, 60, 100, 140, 180, 220, 240, 250])
    webm = make_clip([20, 60, 100, 140, 180, 220, 240, 250], kind="webm")
    moov = mp4.index(b"moov")
    return {
        "zero.mp4": (b"", "the file is empty"),
        "text.mp4": (b"no video", "not a readable video"),
        "playlist.mp4": (b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n", "not a readable video"),
        "sound.mp4": (make_tone(440), "no video track"),
        "still.gif": (picture("GIF"), "still picture"),
        "half.gif": (share(animation("GIF"), 0.6), "the end of the GIF is missing"),
        "block.gif": (animation("GIF")[:-1] + b"\x99\0", "begins no block"),
        "half.webp": (share(animation("WEBP"), 0.7), "not a readable animation"),
        "no-index.mp4": (mp4[: moov - 4], CUT),
        "head.mp4": (mp4[:40], CUT),
        "half.mp4": (share(mp4, 0.5), CUT),
        "half-index.mp4": (mp4[: moov + 100], CUT),
        "half.webm": (share(webm, 0.5), CUT),
        "most.webm": (share(webm, 0.9), CUT),
        "half.avi": (share(make_clip([20] * 8, kind="avi"), 0.5), CUT),
        "long.mp4": (make_clip([20] * 70, fps=1), "70.0 s are over the limit of 60 s"),
        "large.mp4": (make_clip([20] * 2, size=(4096, 2464)), "4096x2464 pixels are over"),
    }


def sounds():
    tone = make_tone(440, seconds=2)
    wrong = np.zeros(8000, np.float32)
    wrong[100] = np.inf
    return {
        "zero.wav": (b"", "the file is empty"),
        "text.wav": (b"RIFF no sound", "not a readable"),
        "head.wav": (tone[:20], "no audio samples"),
        "no-samples.wav": (tone[:44], "cut short"),
        "half.wav": (share(tone, 0.5), "cut short"),
        "empty.wav": (make_tone(440, seconds=0), "no audio samples"),
        "nan.wav": (recording(np.full(99, np.nan), subtype="FLOAT"), "not numbers"),
        "infinite.wav": (recording(wrong, subtype="FLOAT"), "not numbers"),
        "integers.wav": (recording(np.full(99, 9999.0), subtype="FLOAT"), "full scale is 1"),
        "slow.wav": (recording(np.zeros(9), rate=7), "sample rate 7 Hz"),
        "long.flac": (recording(np.zeros(100_000), "FLAC", rate=1000), "100.0 s are over"),
        "half.flac": (share(make_tone(440, kind="FLAC"), 0.5), CUT),
        "sum.flac": (flipped(make_tone(440, kind="FLAC"), -50), CUT),
        "half.ogg": (share(make_tone(440, kind="OGG"), 0.5), "cut short"),
        "sum.ogg": (flipped(make_tone(440, kind="OGG"), -50), "another checksum"),
        "half.mp3": (share(make_tone(440, kind="MP3"), 0.5), CUT),
        "half.aiff": (share(make_tone(440, kind="AIFF"), 0.5), "cut short"),
        "silent.mp4": (make_clip([20] * 8), "no audio track"),
        "picture.mp3": (picture(), "not a readable"),
    }


SOUND = {
    "image": ("png", picture()),
    "video": ("mp4", make_clip([50] * 8)),
    "audio": ("wav", make_tone(440)),
}


@pytest.mark.parametrize(
    ("modality", "corpus", "least"),
    [("image", images, 30), ("video", videos, 16), ("audio", sounds, 18)],
)
def test_each_broken_file_is_a_reject_with_its_reason(tmp_path, modality, corpus, least):
    """Between sound files, whose examples come out as if they were alone."""
    broken, view = corpus(), VIEWS[modality]
    assert len(broken) >= least
    source = tmp_path / "source"
    source.mkdir()
    suffix, data = SOUND[modality]
    for i in range(5):
        (source / f"sound-{i}.{suffix}").write_bytes(data)
    for name, (content, _) in broken.items():
        (source / name).write_bytes(content)

    def build(share):
        return build_dataset(
            source=f"folder:{source}",
            out=tmp_path / "out",
            views=[view],
            limits=LIMITS,
            max_reject_share=share,
            progress=False,
        )

    with pytest.raises(ValueError, match=rf"{len(broken)} of {len(broken) + 5} inputs were rej"):
        build(0.5)
    dataset = build(0.95)
    rows = (tmp_path / "out/rejects.jsonl").read_text().splitlines()
    reasons = {row["id"]: row["reason"] for row in map(json.loads, rows)}
    assert set(reasons) == set(broken)
    said = {name: words.split("|") for name, (_, words) in broken.items()}
    unsaid = {n: r for n, r in reasons.items() if not any(words in r for words in said[n])}
    assert unsaid == {}
    assert not any("\n" in reason for reason in reasons.values())
    arrays = Rows(dataset, "train", view).read(np.arange(5))
    assert (arrays == media.load(data, view)).all()
    assert verify.verify(tmp_path / "out") == []


def test_broken_rows_and_containers_are_rejects_too(tmp_path):
    """One sound picture, and a table that tries everything else."""
    png = picture()
    (tmp_path / "a.png").write_bytes(png)
    (tmp_path / "table.csv").write_bytes(
        b"path,caption,label,split\n"
        b"a.png,good,x,\n"
        b"a.png,again,x,\n"
        b"../a.png,outside,x,\n"
        b"missing.png,no file,x,\n"
        b"a.wav,no picture,x,\n"
        b"./a.png,caf\xe9,x,\n"
        b"b.png,too few\n"
        b",no path,x,\n"
        b"a.png,a split,x,../../etc\n"
    )
    options = {"views": [VIEWS["image"]], "max_reject_share": 0.9, "progress": False}
    out = tmp_path / "out"
    dataset = build_dataset(source=f"csv:{tmp_path}/table.csv", out=out, **options)
    assert dataset.num_examples == {"train": 1}
    assert sum(dataset.manifest.rejects.values()) == 8
    with tarfile.open(tmp_path / "t.tar", "w") as tar:
        for number in range(4):
            info = tarfile.TarInfo(f"{number}.png")
            info.size = len(png)
            tar.addfile(info, io.BytesIO(png))
    whole = (tmp_path / "t.tar").read_bytes()
    (tmp_path / "t.tar").write_bytes(whole[:4000])
    dataset = build_dataset(source=f"webdataset:{tmp_path}/t.tar", out=tmp_path / "2", **options)
    assert dataset.num_examples["train"] in (1, 2)
    table = pa.table({"bytes": [png, None, png[:50]], "caption": ["a", "b", "c"]})
    pq.write_table(table, tmp_path / "p.parquet")
    dataset = build_dataset(source=f"parquet:{tmp_path}/p.parquet", out=tmp_path / "3", **options)
    assert dataset.num_examples == {"train": 1}
    assert dataset.manifest.rejects["column '…' is empty"] == 1
