import numpy as np
import pytest

from imp_data import randomness
from imp_data.augment import Augment

KEYS = randomness.keys(0, np.arange(64))
PICTURE = {"crop_scale": (0.8, 1.0), "brightness": 0.15, "contrast": 0.25}


@pytest.fixture
def images():
    rng = np.random.default_rng(0)
    return rng.integers(60, 190, (64, 16, 16, 3), np.uint8)


def test_it_is_a_pure_function_of_the_keys(images):
    augment = Augment(**PICTURE, permute_channels=0.5, flip=True)
    whole = augment("image", images, KEYS)
    assert (augment("image", images, KEYS) == whole).all()
    assert (augment("image", images[9:12], KEYS[9:12]) == whole[9:12]).all()
    assert (augment("image", images, randomness.keys(1, np.arange(64))) != whole).any()
    assert whole.dtype == np.uint8
    assert whole.shape == images.shape


def test_nothing_asked_changes_nothing(images):
    assert (Augment()("image", images, KEYS) == images).all()
    assert (Augment().pictures(images[:, None], KEYS)[:, 0] == images).all()
    tokens = np.ones((64, 4), np.int32)
    assert Augment()("text", tokens, KEYS) is tokens


def test_brightness_and_contrast_keep_their_bounds():
    grey = np.full((64, 4, 4, 3), 128, np.uint8)
    light = Augment(brightness=0.2)("image", grey, KEYS)[:, 0, 0, 0].astype(int)
    assert 128 - 52 <= light.min() < 90
    assert 166 < light.max() <= 128 + 52
    assert np.abs(Augment(contrast=0.5)("image", grey, KEYS) - 128.0).max() <= 1


def test_crops_stay_inside_and_keep_left_and_right():
    ramp = np.broadcast_to(np.arange(0, 128, 4, dtype=np.uint8)[:, None], (64, 32, 32, 3))
    found = Augment(crop_scale=(0.5, 0.8))("image", ramp, KEYS).astype(int)
    assert (np.diff(found[:, 16, :, 0], axis=1) >= 0).all()
    spans = found[:, 16, -1, 0] - found[:, 16, 0, 0]
    assert 124 * 0.4 < spans.min() < spans.max() < 124 * 0.9
    assert np.ptp(found[:, 16, 0, 0]) > 20


def test_flip_and_channels_happen_at_their_rate(images):
    flipped = Augment(flip=True)("image", images, KEYS)
    mirrored = (flipped == images[:, :, ::-1]).all(axis=(1, 2, 3))
    assert 20 < mirrored.sum() < 44
    assert (flipped[~mirrored] == images[~mirrored]).all()
    permuted = Augment(permute_channels=0.5)("image", images, KEYS)
    assert (np.sort(permuted, axis=-1) == np.sort(images, axis=-1)).all()
    assert 20 < (permuted != images).any(axis=(1, 2, 3)).sum() < 44


def test_frames_of_a_video_share_one_draw(images):
    video = np.repeat(images[:, None], 3, axis=1)
    found = Augment(**PICTURE, permute_channels=0.5)("video", video, KEYS)
    assert (found == found[:, :1]).all()
    assert (found[:, 0] == Augment(**PICTURE, permute_channels=0.5)("image", images, KEYS)).all()


def test_sound_is_rolled_and_gained_above_the_floor():
    floor = np.float32(np.log(1e-6))
    clips = np.full((64, 20, 4), floor, np.float32)
    clips[:, 10] = 1.0
    found = Augment(audio_roll=0.2, audio_gain=0.5)("audio", clips, KEYS)
    peaks = found[..., 0].argmax(1)
    assert set(peaks) == set(range(6, 15))
    assert np.abs(found.max(axis=(1, 2)) - 1).max() <= 0.5
    assert found.min() >= floor
    assert found.dtype == np.float32


@pytest.mark.parametrize(
    "options",
    [{"crop_scale": (0.9, 0.8)}, {"crop_scale": (0.0, 1.0)}, {"flip": True, "brightness": 2.0}],
)
def test_bounds_are_checked(options):
    with pytest.raises(ValueError, match="within 0 and 1"):
        Augment(**options)


def test_a_shift_moves_bands_and_leaves_silence_behind() -> None:
    clips = np.tile(np.arange(16, dtype=np.float32), (40, 4, 1))
    keys = np.arange(40, dtype=np.uint64)
    out = Augment(audio_shift=3).spectrograms(clips, keys)
    assert out.dtype == np.float32
    seen = set()
    for clip in out:
        move = next(m for m in range(-3, 4) if clip[0, 8 + m] == 8)
        seen.add(move)
        for band in range(16):
            kept = 0 <= band - move < 16
            assert np.allclose(clip[:, band], band - move if kept else np.log(1e-6))
    assert seen == set(range(-3, 4))
