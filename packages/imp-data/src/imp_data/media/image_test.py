import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from imp_data import media
from imp_data.media import Limits, MediaError, image
from imp_data.views import ImageView

VIEW = ImageView(size=8)


def encoded(picture, kind="PNG", **options):
    out = io.BytesIO()
    picture.save(out, kind, **options)
    return out.getvalue()


def quadrants(size=(64, 64)):
    """Red, green over blue, white: tells every turn and mirror apart."""
    pixels = np.zeros((*size[::-1], 3), np.uint8)
    h, w = size[1] // 2, size[0] // 2
    pixels[:h, :w] = (255, 0, 0)
    pixels[:h, w:] = (0, 255, 0)
    pixels[h:, :w] = (0, 0, 255)
    pixels[h:, w:] = (255, 255, 255)
    return Image.fromarray(pixels)


def corners(array):
    return [tuple(array[y, x].tolist()) for y, x in ((0, 0), (0, -1), (-1, 0), (-1, -1))]


def test_exif_orientation_is_applied():
    upright = corners(media.load(encoded(quadrants()), VIEW))
    for orientation, stored in (
        (6, quadrants().rotate(90, expand=True)),
        (3, quadrants().rotate(180)),
        (8, quadrants().rotate(-90, expand=True)),
        (2, quadrants().transpose(Image.Transpose.FLIP_LEFT_RIGHT)),
    ):
        exif = Image.Exif()
        exif[0x0112] = orientation
        data = encoded(stored, "PNG", exif=exif.tobytes())
        assert corners(media.load(data, VIEW)) == upright, orientation


def test_alpha_and_palette_transparency_go_over_white():
    clear = Image.new("RGBA", (16, 16), (0, 0, 0, 0))
    assert (media.load(encoded(clear), VIEW) == 255).all()
    palette = Image.new("P", (16, 16), 0)
    palette.putpalette([10, 20, 30, 200, 0, 0])
    assert (media.load(encoded(palette, transparency=0), VIEW) == 255).all()
    assert (media.load(encoded(palette), VIEW) == (10, 20, 30)).all()


def test_sixteen_bits_are_scaled_not_saturated():
    ramp = np.linspace(0, 65535, 256).astype(np.uint16)
    picture = Image.fromarray(np.tile(ramp, (256, 1)))
    array = media.load(encoded(picture), ImageView(size=256))
    assert array[0, :, 0].tolist() == list(range(256))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "CMYK", "YCbCr"])
def test_every_mode_becomes_rgb(mode):
    kind = "JPEG" if mode in ("CMYK", "YCbCr") else "PNG"
    array = media.load(encoded(Image.new("RGB", (20, 20), "white").convert(mode), kind), VIEW)
    assert array.shape == (8, 8, 3)
    assert (array > 250).all()


def test_the_first_frame_of_an_animation():
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "lime")]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:], duration=100)
    assert (media.load(data, VIEW) == (255, 0, 0)).all()


def test_the_square_at_the_centre_is_kept():
    pixels = np.zeros((32, 96, 3), np.uint8)
    pixels[:, 32:64] = 255
    assert (media.load(encoded(Image.fromarray(pixels)), ImageView(size=32)) == 255).all()


def test_shrinking_is_antialiased():
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    array = media.load(encoded(Image.fromarray(stripes)), VIEW)
    assert np.abs(array[2:-2, 2:-2].astype(int) - 128).max() < 12


def test_draft_decoding_changes_little():
    rng = np.random.default_rng(0)
    noise = Image.fromarray(rng.integers(0, 256, (16, 16, 3), np.uint8)).resize((512, 512))
    data = encoded(noise, "JPEG", quality=95)
    whole = image.fit(image.decode(data), 32)
    drafted = image.fit(image.decode(data, size=32), 32)
    assert np.abs(whole.astype(int) - drafted).mean() < 2


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP"])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.3, 0.7])
def test_cut_files_are_refused_in_one_line(kind, share):
    rng = np.random.default_rng(1)
    picture = Image.fromarray(rng.integers(0, 256, (64, 64, 3), np.uint8))
    data = encoded(picture, kind)
    with pytest.raises(MediaError) as caught:
        media.load(data[: int(len(data) * share)], VIEW)
    assert "\n" not in str(caught.value)
    assert " at 0x" not in str(caught.value)


def png16(levels):
    """A 16-bit PNG of uint16 [h, w, channels], which Pillow doesn't write."""
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[levels.shape[2]]
    lines = b"".join(b"\0" + line.astype(">u2").tobytes() for line in levels)
    head = struct.pack(">IIBBBBB", levels.shape[1], levels.shape[0], 16, kind, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n"
    for name, body in ((b"IHDR", head), (b"IDAT", zlib.compress(lines)), (b"IEND", b"")):
        data += struct.pack(">I", len(body)) + name + body
        data += struct.pack(">I", zlib.crc32(name + body))
    return data


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_sixteen_bits_in_any_number_of_channels(channels):
    levels = np.full((8, 8, channels), 30_000, np.uint16)
    if channels in (2, 4):
        levels[..., -1] = 65_535
    assert np.abs(media.load(png16(levels), VIEW).astype(int) - 30_000 / 257).max() < 1


@pytest.mark.parametrize("head", [b"P5 8 8 65535\n", b"P6 8 8 65535\n"])
def test_sixteen_bit_portable_maps(head):
    levels = np.full((8, 8, 1 if head[1:2] == b"5" else 3), 30_000, ">u2")
    assert (media.load(head + levels.tobytes(), VIEW) == 117).all()


def test_pixels_without_a_range_are_refused():
    data = encoded(Image.fromarray(np.full((8, 8), 0.5, np.float32)), "TIFF")
    with pytest.raises(MediaError, match="mode F have no known range"):
        media.load(data, VIEW)


def test_printers_colours_are_turned_into_light():
    for ink, light in (((255, 0, 0, 0), (0, 255, 255)), ((0, 0, 255, 0), (255, 255, 0))):
        array = media.load(encoded(Image.new("CMYK", (16, 16), ink), "JPEG"), VIEW)
        assert np.abs(array.astype(int) - light).max() < 6


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "TIFF"])
def test_exif_orientation_in_every_format(kind):
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = quadrants().rotate(90, expand=True)
    array = media.load(encoded(turned, kind, exif=exif), VIEW).astype(int)
    assert (
        np.abs(np.array(corners(array)) - corners(media.load(encoded(quadrants()), VIEW))).max()
        < 40
    )


def test_only_pictures_are_opened():
    """Pillow hands EPS to Ghostscript, which runs what stands in it."""
    with pytest.raises(MediaError, match="cannot identify"):
        media.load(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n", VIEW)


def test_a_bomb_inside_an_icon():
    bomb = encoded(Image.new("1", (9000, 9000)))
    icon = struct.pack("<HHHBBBBHHII", 0, 1, 1, 16, 16, 0, 0, 1, 32, len(bomb), 22) + bomb
    with pytest.raises(MediaError, match="9000x9000 pixels are over the limit"):
        media.load(icon, VIEW)
    sound = encoded(Image.new("RGB", (32, 32), (9, 99, 200)), "ICO")
    assert (media.load(sound, VIEW) == (9, 99, 200)).all()


def test_a_png_whose_sums_do_not_match():
    data = bytearray(encoded(Image.fromarray(np.arange(192, dtype=np.uint8).reshape(8, 8, 3))))
    data[data.index(b"IDAT") + 20] ^= 1
    with pytest.raises(MediaError, match=r"chunk b'IDAT' at byte \d+ has another checksum"):
        media.load(bytes(data), VIEW)


def test_limits_come_before_decoding():
    big = encoded(Image.new("1", (6000, 6000)))
    with pytest.raises(MediaError, match="6000x6000 pixels are over the limit"):
        media.load(big, VIEW, limits=Limits(max_pixels=1_000_000))
    with pytest.raises(MediaError, match="bytes are over the limit of 10"):
        media.load(big, VIEW, limits=Limits(max_bytes=10))
    with pytest.raises(ValueError, match="max_bytes 0 must be above 0"):
        Limits(max_bytes=0)
