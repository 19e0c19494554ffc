import numpy as np
import pytest

from imp_data.media import MediaError, clips, video
from imp_data.views import VideoView

LEVELS = [20, 60, 100, 140, 180, 220]


@pytest.mark.parametrize("kind", ["mp4", "webm", "matroska", "avi", "gif"])
def test_clips_are_spread_from_the_start_to_the_end(clip, kind):
    """Each is what a clip that starts there is, and they are decoded together."""
    data = clip([i * 5 + 20 for i in range(40)], kind=kind)
    view = VideoView(frames=4, size=16, fps=4.0)
    assert abs(clips.duration(data) - 5.0) < 0.02
    found = clips.load(data, view, 5)
    assert found.shape == (5, *view.shape)
    for own, start in zip(found, [0, 1, 2, 3, 4], strict=True):
        # GIF's clock ticks in hundredths: its eighth of a second is 0.12 or 0.13.
        alone = video.load_many(data, [view], start=start)[view.key]
        assert np.abs(own.astype(int) - alone.astype(int)).max() <= (6 if kind == "gif" else 0)
    part = clips.load(data, view, 3, start=1.0, end=3.0)
    alone = video.load_many(data, [view], start=2.0)[view.key]
    assert np.abs(part[2].astype(int) - alone).max() <= (6 if kind == "gif" else 0)


def test_a_video_that_a_clip_shows_whole_gives_one(clip):
    data = clip(LEVELS, fps=8)
    view = VideoView(frames=6, size=16, fps=8.0)
    whole = video.load_many(data, [view])[view.key]
    assert (clips.load(data, view, 8) == whole).all()
    assert clips.load(data, view, 8).shape == (1, *view.shape)
    assert clips.load(data, view, 1, start=0.25).shape == (1, *view.shape)
    broken = clip(LEVELS * 8, fps=8)[:-700]
    with pytest.raises(MediaError):
        clips.load(broken, VideoView(frames=2, size=16, fps=8.0), 8)
