"""Small real runs of each corpus, and what each promises of its splits."""

import csv
import json
from collections import Counter
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from PIL import Image

from imp_data.samples import colours, emoji, errands, games, icons, instruments
from imp_data.samples.corpus import Corpus, rng_of


def _write(corpus: Corpus, folder: Path, *, seed: int = 0, chunks: int = 2) -> set[str]:
    """The first few chunks of a plan limited to 2 examples each."""
    rows = []
    for chunk in corpus.plan(seed, 2)[:chunks]:
        rows += corpus.write_chunk(folder, chunk)
    corpus.complete(folder, rows)
    assert all((folder / row.path).stat().st_size > 100 for row in rows)
    return {row.path for row in rows}


@pytest.mark.parametrize("corpus", [m.CORPUS for m in (icons, emoji, games, instruments, errands)])
def test_the_same_seed_writes_the_same_bytes(corpus: Corpus, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    chunks = 1 if corpus is games.CORPUS else 2
    paths = _write(corpus, first, chunks=chunks)
    assert _write(corpus, second, chunks=chunks) == paths
    assert all((first / path).read_bytes() == (second / path).read_bytes() for path in paths)


def test_icons_hold_out_drawings_whose_words_are_trained_on() -> None:
    drawings = {
        path.stem: path.read_text("utf-8") for path in sorted(icons.icon_folder().glob("*.svg"))
    }
    held = icons.hold_out(drawings, icons.NUM_TEST)
    trained = [name for name in drawings if name not in set(held)]

    assert len(drawings) > 7_000
    assert len(set(held)) == icons.NUM_TEST
    assert not {drawings[name] for name in held} & {drawings[name] for name in trained}
    words = {word for name in trained for word in name.split("-")}
    assert all(word in words for name in held for word in name.split("-"))


def test_icons_are_legible_rgb_with_names_for_captions(tmp_path: Path) -> None:
    assert icons.CORPUS.write(tmp_path, limit=2) == {"test": 2, "train": 2}
    with (tmp_path / "manifest.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["path", "caption", "split"]
    for row in rows:
        assert row["caption"] == Path(row["path"]).stem.replace("-", " ")
        with Image.open(tmp_path / row["path"]) as image:
            assert (image.size, image.mode) == ((128, 128), "RGB")
            common = [colour for _, colour in sorted(image.getcolors(1 << 14) or [])[-2:]]
        assert colours.contrast(*common) > 2  # type: ignore[arg-type]


def test_contrast_is_the_published_ratio() -> None:
    assert colours.contrast((0, 0, 0), (255, 255, 255)) == pytest.approx(21)
    assert colours.contrast((119, 119, 119), (255, 255, 255)) == pytest.approx(4.48, abs=0.01)
    rng = rng_of("any")
    assert all(
        colours.contrast(colours.draw_ink(rng), colours.draw_paper(rng)) > 2.3 for _ in range(100)
    )


def test_emoji_names_and_kin() -> None:
    assert emoji.slug("man\N{RIGHT SINGLE QUOTATION MARK}s shoe") == "mans-shoe"
    assert emoji.slug("piñata") == "pinata"
    assert emoji.kin("woman-guard") == emoji.kin("guard") == "guard"
    assert emoji.kin("family-man-man-girl") == emoji.kin("family")
    assert emoji.kin("man") == emoji.kin("woman") == "person"


def test_emoji_keep_kin_in_one_split_and_leave_out_skin_tones() -> None:
    entries = emoji.catalogue()
    held = emoji.hold_out(entries)
    groups = Counter(group for group, _, _ in entries)

    assert len(groups) == 8
    assert min(groups.values()) > 80
    assert len({stem for _, stem, _ in entries}) == len(entries) > 1_500
    assert not any("skin-tone" in stem for _, stem, _ in entries)
    kin = {
        split: {(g, emoji.kin(s)) for g, s, _ in entries if (s in held) == split}
        for split in (True, False)
    }
    assert not kin[True] & kin[False]
    for group, count in groups.items():
        share = sum(stem in held for g, stem, _ in entries if g == group) / count
        assert 0.1 <= share <= 0.15, group


def test_games_carry_video_and_sound(tmp_path: Path) -> None:
    chunk = next(c for c in games.CORPUS.plan(0, 2) if c.items[0] == "seaquest")
    games.CORPUS.complete(tmp_path, games.write_chunk(tmp_path, chunk))
    lines = (tmp_path / "manifest.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    assert Counter(row["split"] for row in rows) == {"train": 2, "test": 2}
    for row in rows:
        assert (row["caption"], row["label"]) == ("seaquest", "seaquest")
        with av.open(str(tmp_path / row["path"])) as container:
            video, audio = container.streams.video[0], container.streams.audio[0]
            assert (video.codec_context.name, audio.codec_context.name) == ("h264", "aac")
            assert (video.width, video.height, video.average_rate) == (160, 210, 15)
        with av.open(str(tmp_path / row["path"])) as container:
            assert len(list(container.decode(video=0))) == games.FRAMES
        with av.open(str(tmp_path / row["path"])) as container:
            wave = np.concatenate([f.to_ndarray()[0] for f in container.decode(audio=0)])
        assert wave.size / games.SAMPLE_RATE == pytest.approx(games.FRAMES / games.FPS, abs=0.05)
        assert np.sqrt(np.mean(wave**2)) > games.LEAST_RMS / 2


def test_games_never_load_a_rom_that_ends_the_process() -> None:
    assert len(games.GAMES) == len(set(games.GAMES.values())) == 24
    assert not {"combat", "joust", "maze_craze", "warlords"} & set(games.GAMES)


def test_instruments_sound_and_hold_out_pitches(tmp_path: Path) -> None:
    paths = _write(instruments.CORPUS, tmp_path, chunks=1)
    assert {Path(path).suffix for path in paths} == {".wav", ".flac"}
    assert Counter(path.split("/")[0] for path in paths) == {"train": 14, "test": 3}
    assert {path.split("/")[1] for path in paths} == {"piano"}
    assert len({Path(path).stem for path in paths}) == 17
    for path in paths:
        wave, rate = soundfile.read(tmp_path / path)
        assert (wave.ndim, wave.size / rate) == (1, pytest.approx(2.1, abs=0.001))
        assert 0.4 < np.abs(wave).max() < 0.95


def test_instruments_hold_out_the_same_notes_whatever_the_seed() -> None:
    for program in (0, 65, 127):
        first, second = (instruments.notes_of(program, seed) for seed in (0, 1))
        assert [note[:2] for note in first] == [note[:2] for note in second]
        assert [note for note in first if note[0] == "test"] == [
            note for note in second if note[0] == "test"
        ]
        assert first != second


def test_errands_end_with_the_mission_done(tmp_path: Path) -> None:
    counts = errands.CORPUS.write(tmp_path, limit=3)
    assert counts == {"test": 18, "train": 18}
    with (tmp_path / "manifest.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    missions = [row["caption"] for row in rows if row["split"] == "test"]
    assert len(set(missions)) == len(missions)
    assert any(mission.startswith("put the ") for mission in missions)
    assert not any(" a " in row["caption"] for row in rows)
    with av.open(str(tmp_path / rows[0]["path"])) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(frames) == 17
    assert frames[0].shape == (128, 128, 3)
    assert np.abs(frames[0].astype(int) - frames[-1]).max() > 100


def test_errands_discard_missions_that_the_clip_does_not_settle() -> None:
    import gymnasium
    import minigrid  # noqa: F401

    env = gymnasium.make("BabyAI-PickupLoc-v0").unwrapped
    ran = [errands.run_errand(env, seed) for seed in range(12)]
    kept = [episode for episode in ran if episode is not None]
    assert 0 < len(kept) < len(ran)
    assert all(mission.startswith("pick up the ") for mission, _ in kept)
    assert all(len(frames) == errands.FRAMES for _, frames in kept)
