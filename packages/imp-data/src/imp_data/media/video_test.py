import io

import numpy as np
import pytest
from PIL import Image

from imp_data import media
from imp_data.media import Limits, MediaError, video
from imp_data.views import ImageView, VideoView

LEVELS = [20, 60, 100, 140, 180, 220]


def shown(data, **view):
    array = media.load(data, VideoView(size=16, **view))
    return array[:, 8, 8, 0].astype(int)


def near(found, wanted):
    return np.abs(found - np.array(wanted)).max() <= 4


def test_frames_are_sampled_by_time(clip):
    data = clip(LEVELS, fps=8)
    assert near(shown(data, frames=6, fps=8.0), LEVELS)
    assert near(shown(data, frames=3, fps=4.0), LEVELS[::2])
    assert near(shown(data, frames=6, fps=16.0), [20, 20, 60, 60, 100, 100])


def test_the_last_frame_is_repeated(clip):
    assert near(shown(clip(LEVELS, fps=8), frames=9, fps=8.0), [*LEVELS, 220, 220, 220])


def test_a_clip_may_start_later(clip):
    view = VideoView(frames=2, size=16, fps=8.0)
    array = video.load_many(clip(LEVELS, fps=8), [view], start=0.25)[view.key]
    assert near(array[:, 8, 8, 0].astype(int), [100, 140])


@pytest.mark.parametrize("kind", ["mp4", "webm", "matroska"])
def test_a_variable_frame_rate_is_sampled_by_time(clip, kind):
    """Also WebM and Matroska, which say nothing of how many frames they hold."""
    data = clip(LEVELS, kind=kind, fps=30, times=[0, 0.1, 0.2, 0.9, 1.0, 1.7])
    found = shown(data, frames=8, fps=4.0)
    assert near(found, [20, 100, 100, 100, 180, 180, 180, 220])


@pytest.mark.parametrize("kind", ["mp4", "webm", "matroska", "avi", "mpegts"])
def test_a_late_clip_is_sought_and_is_the_same(clip, kind, monkeypatch):
    levels = [i * 7 % 200 + 20 for i in range(120)]
    data = clip(levels, kind=kind, options={"g": "12"})
    view = VideoView(frames=4, size=16, fps=4.0)
    for start in (6.3, 11.0, 14.6):
        sought = video.load_many(data, [view], start=start)[view.key]
        with monkeypatch.context() as patch:
            patch.setattr(video, "_SEEK_SECONDS", float("inf"))
            assert (video.load_many(data, [view], start=start)[view.key] == sought).all()
        first = levels[int(start * 8 + 0.05)]
        assert abs(int(sought[0, 8, 8, 0]) - first) < 8


def test_a_clip_ends_where_it_is_told(clip):
    data = clip(LEVELS, fps=8)
    view = VideoView(frames=4, size=16, fps=8.0)
    for end, wanted in ((0.5, [60, 100, 140, 140]), (0.2, [60] * 4), (9.0, LEVELS[1:5])):
        array = video.load_many(data, [view], start=0.125, end=end)[view.key]
        assert near(array[:, 8, 8, 0].astype(int), wanted), end
    with pytest.raises(MediaError, match=r"start 1 s is past the end, 0\.75 s"):
        video.load_many(data, [view], start=1.0)


@pytest.mark.parametrize("kind", ["GIF", "WEBP"])
def test_an_animation_is_a_video_by_its_own_times(kind):
    out = io.BytesIO()
    frames = [Image.new("RGB", (16, 16), (level,) * 3) for level in LEVELS]
    options = {} if kind == "GIF" else {"lossless": True}
    times = [100, 100, 700, 100, 700, 300]
    frames[0].save(out, kind, save_all=True, append_images=frames[1:], duration=times, **options)
    data = out.getvalue()
    assert near(shown(data, frames=8, fps=4.0), [20, 100, 100, 100, 180, 180, 180, 220])
    assert media.load(data, ImageView(size=4)).max() == 20
    for share in (0.3, 0.6, 0.9, 0.99):
        with pytest.raises(MediaError):
            shown(data[: int(len(data) * share)], frames=8, fps=4.0)
    with pytest.raises(MediaError, match=r"2\.0 s are over the limit"):
        media.load(data, VideoView(frames=8, size=4, fps=4.0), limits=Limits(max_seconds=1.9))
    with pytest.raises(MediaError, match="16x16 pixels are over"):
        media.load(data, VideoView(frames=8, size=4, fps=4.0), limits=Limits(max_pixels=99))


def test_a_still_picture_is_no_video():
    out = io.BytesIO()
    Image.new("RGB", (16, 16)).save(out, "WEBP")
    with pytest.raises(MediaError, match="is a still picture"):
        shown(out.getvalue(), frames=2, fps=1.0)


def test_several_views_equal_each_alone(clip):
    data = clip(LEVELS, fps=8)
    views = [VideoView(frames=4, size=16, fps=8.0), VideoView(frames=3, size=32, fps=3.0)]
    together = media.load_many(data, views)
    for view in views:
        assert (together[view.key] == media.load(data, view)).all()


def test_an_animated_gif_is_a_video(clip):
    found = shown(clip(LEVELS, fps=10, kind="gif"), frames=6, fps=10.0)
    assert np.abs(found - np.array(LEVELS)).max() <= 20


@pytest.mark.parametrize("rotation", [90, 180, -90])
def test_rotation_is_undone(clip, rotation):
    pixels = np.zeros((64, 64, 3), np.uint8)
    pixels[:32, :32] = 255
    sound = media.load(clip([pixels] * 3, size=(64, 64)), VideoView(frames=1, size=16, fps=1.0))[0]
    data = clip([pixels] * 3, size=(64, 64), rotation=rotation)
    turned = media.load(data, VideoView(frames=1, size=16, fps=1.0))[0]
    assert (turned == np.rot90(sound, k=rotation // 90)).all()


def test_the_centre_is_kept(clip):
    pixels = np.zeros((96, 32, 3), np.uint8)
    pixels[32:64] = 255
    array = media.load(clip([pixels] * 2, size=(32, 96)), VideoView(frames=1, size=32, fps=1.0))
    assert array[0, 4:-4].min() > 240


@pytest.mark.parametrize("kind", ["mp4", "webm", "matroska", "avi", "flv"])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.7, 0.9])
def test_cut_files_are_refused(clip, share, kind):
    data = clip(LEVELS, kind=kind)
    with pytest.raises(MediaError):
        media.load(data[: int(len(data) * share)], VideoView(frames=6, size=16, fps=8.0))


def test_what_is_no_video_is_refused(tone):
    view = VideoView(frames=2, size=16, fps=8.0)
    with pytest.raises(MediaError, match="has no video track"):
        media.load(tone(440), view)
    playlist = b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile:///etc/passwd\n"
    with pytest.raises(MediaError, match="not a readable video"):
        media.load(playlist, view)


def test_limits_come_before_decoding(clip):
    data = clip(LEVELS * 4, fps=8)
    view = VideoView(frames=2, size=16, fps=8.0)
    with pytest.raises(MediaError, match=r"3\.0 s are over the limit of 2 s"):
        media.load(data, view, limits=Limits(max_seconds=2.0))
    with pytest.raises(MediaError, match="48x64 pixels are over the limit"):
        media.load(data, view, limits=Limits(max_pixels=100))
    with pytest.raises(MediaError, match="more than 5 frames"):
        media.load(data, VideoView(frames=20, size=16, fps=8.0), limits=Limits(max_frames=5))
