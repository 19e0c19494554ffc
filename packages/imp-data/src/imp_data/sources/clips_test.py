"""Pieces of videos and recordings: Kinetics, AudioSet, and tables with times."""

import numpy as np
import soundfile

from imp_data.sources.conftest import built, read
from imp_data.views import AudioView, VideoView


def test_kinetics(tmp_path, clip):
    videos = tmp_path / "videos/juggling"
    videos.mkdir(parents=True)
    (videos / "-abc.mp4").write_bytes(clip([40] * 8 + [200] * 8, fps=8))
    (videos / "xyz_000010_000020.mp4").write_bytes(clip([120] * 8, fps=8))
    (tmp_path / "k.csv").write_text(
        "label,youtube_id,time_start,time_end,split\n"
        "juggling balls,-abc,0,1,train\njuggling balls,-abc,1,2,train\nyoga,xyz,10,20,validate\n"
    )
    view = VideoView(frames=2, size=4, fps=1.0)
    found = built(f"kinetics:{tmp_path}/k.csv", tmp_path / "out", view, root=str(tmp_path))
    assert {s: [(i, round(n, -1), labels) for i, n, _, labels in r] for s, r in found.items()} == {
        "train": [("-abc_0_1", 40, ("juggling balls",)), ("-abc_1_2", 200, ("juggling balls",))],
        "validate": [("xyz_10_20", 120, ("yoga",))],
    }


def test_audioset(tmp_path, tone):
    low, high = (np.sin(np.arange(16_000) * f * 2 * np.pi / 16_000) / 2 for f in (300, 3000))
    soundfile.write(tmp_path / "--x.flac", np.concatenate([low, high]), 16_000)
    (tmp_path / "y_1_2.wav").write_bytes(tone(3000))
    (tmp_path / "class_labels_indices.csv").write_text(
        'index,mid,display_name\n0,/m/1,Speech\n1,/m/2,"Cheep, tweet"\n'
    )
    (tmp_path / "segments.csv").write_text(
        "# Segments csv created Sun Mar  5 10:54:31 2017\n"
        "# YTID, start_seconds, end_seconds, positive_labels\n"
        '--x, 0.000, 1.000, "/m/1,/m/2"\n--x, 1.000, 2.000, "/m/2"\ny, 1.000, 2.000, "/m/9"\n'
    )
    found = built(f"audioset:{tmp_path}/segments.csv", tmp_path / "out", AudioView(frames=8))
    (a, b, c) = found["train"]
    assert [row[0] for row in (a, b, c)] == ["--x_0_1", "--x_1_2", "y_1_2"]
    assert [row[3] for row in (a, b, c)] == [
        ("Cheep, tweet", "Speech"),
        ("Cheep, tweet",),
        ("/m/9",),
    ]
    assert a[1] < b[1] == c[1]


def test_a_table_of_clips(tmp_path, clip):
    (tmp_path / "v.mp4").write_bytes(clip([40] * 8 + [200] * 8, fps=8))
    (tmp_path / "m.csv").write_text("path,start,end\nv.mp4,0,0.5\nv.mp4,1,\n")
    view = VideoView(frames=3, size=4, fps=2.0)
    (a, b) = built(f"csv:{tmp_path}/m.csv", tmp_path / "out", view)["train"]
    assert (a[0], b[0]) == ("v.mp4#0-0.5", "v.mp4#1-")
    assert abs(a[1] - 40) < 4
    assert abs(b[1] - 200) < 4


def test_clips_that_no_file_or_two_files_hold(tmp_path, clip):
    for name in ("p/a.mp4", "q/a.mp4"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(b"x")
    text = "youtube_id,time_start,time_end\na,0,1\nb,0,1\n,0,1\nc,5,1\n"
    (tmp_path / "k.csv").write_text(text)
    problems = [i.problem for i in read(f"kinetics:{tmp_path}/k.csv", modalities=["video"])]
    for problem, said in zip(
        problems,
        ["two files may hold it", "no file b_000000_000001 or b", "no youtube_id", "end"],
        strict=True,
    ):
        assert said in problem
