"""Tiny real clips and recordings, made when a test asks; and a dataset of greys."""

import fractions
import io

import av
import numpy as np
import pytest
import soundfile
from PIL import Image

_CODECS = {"gif": ("gif", "rgb8"), "webm": ("libvpx", "yuv420p"), "avi": ("mpeg4", "yuv420p")}


def make_clip(
    levels,
    *,
    fps=8,
    size=(48, 64),
    kind="mp4",
    tone=None,
    rotation=0,
    rate=16_000,
    times=None,
    options=None,
) -> bytes:
    """One grey frame of each level at `fps`, or at `times` in seconds; `tone` adds that many hertz
    as an audio track."""
    out = io.BytesIO()
    codec, pixels = _CODECS.get(kind, ("libx264", "yuv420p"))
    with av.open(out, "w", format=kind) as container:
        stream = container.add_stream(codec, rate=fps)
        stream.width, stream.height, stream.pix_fmt = *size, pixels
        stream.options = options or {}
        if times is not None:
            stream.codec_context.time_base = fractions.Fraction(1, 1000)
        if rotation:
            stream.set_display_rotation(rotation)
        audio = container.add_stream("aac", rate=rate, layout="mono") if tone else None
        for number, level in enumerate(levels):
            grey = np.broadcast_to(np.uint8(level), (size[1], size[0], 3))
            if np.ndim(level) == 3:
                grey = np.asarray(level, np.uint8)
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(grey), format="rgb24")
            if times is not None:
                frame.pts = round(times[number] * 1000)
                frame.time_base = fractions.Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
        if audio is not None:
            time = np.arange(int(rate * len(levels) / fps)) / rate
            wave = (0.5 * np.sin(2 * np.pi * tone * time)).astype(np.float32)[None]
            sound = av.AudioFrame.from_ndarray(wave, format="fltp", layout="mono")
            sound.sample_rate = rate
            container.mux(audio.encode(sound))
            container.mux(audio.encode())
    return out.getvalue()


def make_tone(
    hertz, *, seconds=1.0, rate=16_000, channels=1, kind="WAV", subtype=None, level=0.5
) -> bytes:
    time = np.arange(int(rate * seconds)) / rate
    wave = level * np.sin(2 * np.pi * hertz * time)
    out = io.BytesIO()
    soundfile.write(out, np.tile(wave[:, None], channels), rate, format=kind, subtype=subtype)
    return out.getvalue()


@pytest.fixture(scope="session")
def clip():
    return make_clip


@pytest.fixture(scope="session")
def tone():
    return make_tone


NUM_GREYS = 37


@pytest.fixture(scope="session")
def greys(tmp_path_factory):
    """37 pictures, each of one grey that its caption names; one broken file leaves a gap."""
    from imp_data.pipelines import build
    from imp_data.views import ImageView

    root = tmp_path_factory.mktemp("greys")
    for i in range(NUM_GREYS):
        folder = root / "source" / "train" / ("even", "odd")[i % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4), (i * 6, 0, 0)).save(folder / f"grey-{i}.png")
    (root / "source/train/odd/broken.png").write_bytes(b"x")
    return build.build_dataset(
        source=f"folder:{root}/source",
        out=root / "out",
        views=[ImageView(size=4)],
        caption_from="stem",
        shard_examples=5,
        progress=False,
    )


@pytest.fixture(scope="session")
def grey_tokenizer(tmp_path_factory):
    from imp_data.tokenizer import Tokenizer

    texts = [f"grey {i}" for i in range(NUM_GREYS)]
    return Tokenizer.train(texts, tmp_path_factory.mktemp("tokenizer") / "t.model", 300)
