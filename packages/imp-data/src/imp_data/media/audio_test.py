import io

import av
import numpy as np
import pytest
import soundfile

from imp_data import media
from imp_data.media import Limits, MediaError, audio, sound
from imp_data.views import AudioView

VIEW = AudioView(frames=12)


def loop_log_mel(waveform, view):
    """The definition, one number at a time: a slow, independent reading of it."""
    needed = (view.frames - 1) * view.hop + view.window
    x = np.concatenate([waveform, np.zeros(needed)])[:needed].astype(np.float64)
    bins = view.window // 2 + 1
    mel = lambda f: 1127.0 * np.log(1.0 + f / 700.0)  # noqa: E731
    low, high = mel(view.fmin), mel(view.fmax)
    edges = [low + (high - low) * i / (view.num_mels + 1) for i in range(view.num_mels + 2)]
    result = np.zeros((view.frames, view.num_mels))
    for t in range(view.frames):
        frame = x[t * view.hop : t * view.hop + view.window]
        hann = [0.5 - 0.5 * np.cos(2 * np.pi * n / view.window) for n in range(view.window)]
        power = np.abs(np.fft.fft(frame * hann)[:bins]) ** 2
        for m in range(view.num_mels):
            total = 0.0
            for k in range(1, bins):
                place = mel(k * view.sample_rate / view.window)
                rise = (place - edges[m]) / (edges[m + 1] - edges[m])
                fall = (edges[m + 2] - place) / (edges[m + 2] - edges[m + 1])
                total += max(0.0, min(rise, fall)) * power[k]
            result[t, m] = np.log(total + 1e-6)
    return result


@pytest.mark.parametrize(
    "view",
    [
        AudioView(frames=3, num_mels=20, window=256, hop=128),
        # Bands narrower than a bin have no weight at all.
        AudioView(frames=2, num_mels=64, window=128, hop=100, fmin=0.0, fmax=8000.0),
    ],
)
def test_log_mel_equals_its_definition(view):
    waveform = np.random.default_rng(0).normal(0, 0.3, 400).astype(np.float32)
    found = audio.log_mel(waveform, view)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, loop_log_mel(waveform, view), rtol=1e-4, atol=1e-4)


def test_silence_is_the_floor_and_short_clips_are_padded_with_it(tone):
    silence = audio.log_mel(np.zeros(0, np.float32), VIEW)
    np.testing.assert_allclose(silence, np.log(1e-6), rtol=1e-6)
    array = media.load(tone(440, seconds=0.2), VIEW)
    assert array.shape == (12, 128)
    assert array[0].max() > 5
    np.testing.assert_allclose(array[6:], np.log(1e-6), rtol=1e-6)


@pytest.mark.parametrize("length", [0, 1, 127, 128, 129, 256, 300, 640, 641, 900])
def test_the_silence_after_a_clip_may_as_well_be_its_own(length):
    view = AudioView(frames=4, num_mels=20, window=256, hop=128)
    waveform = np.random.default_rng(0).normal(0, 0.3, length).astype(np.float32)
    whole = np.concatenate([waveform, np.zeros(900, np.float32)])
    np.testing.assert_array_equal(audio.log_mel(waveform, view), audio.log_mel(whole, view))


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "OGG", "MP3", "AIFF"])
@pytest.mark.parametrize(("rate", "channels"), [(16_000, 1), (44_100, 2), (8_000, 1)])
def test_formats_rates_and_channels_agree(tone, kind, rate, channels):
    wanted = media.load(tone(440), VIEW)
    found = media.load(tone(440, kind=kind, rate=rate, channels=channels), VIEW)
    assert (found[1:10].argmax(1) == wanted[1:10].argmax(1)).all()
    assert np.abs(found[2:9].max(1) - wanted[2:9].max(1)).max() < 0.3


def test_a_videos_own_track(clip, tone):
    found = media.load(clip([100] * 8, tone=440), VIEW)
    wanted = media.load(tone(440), VIEW)
    assert (found[2:9].argmax(1) == wanted[2:9].argmax(1)).all()
    with pytest.raises(MediaError, match="has no audio track"):
        media.load(clip([100] * 8), VIEW)


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "OGG", "MP3", "AIFF"])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.4, 0.8])
def test_cut_recordings_are_refused(tone, kind, share):
    data = tone(440, seconds=2, kind=kind)
    with pytest.raises(MediaError):
        media.load(data[: int(len(data) * share)], VIEW)


def test_samples_that_are_no_numbers_are_refused(tone):
    samples = np.zeros(8000, np.float32)
    samples[100] = np.nan
    out = io.BytesIO()
    soundfile.write(out, samples, 16_000, format="WAV", subtype="FLOAT")
    with pytest.raises(MediaError, match="not numbers"):
        media.load(out.getvalue(), VIEW)


def test_samples_that_mean_integers_are_refused():
    out = io.BytesIO()
    soundfile.write(out, np.full(8000, 20_000, np.float32), 16_000, format="WAV", subtype="FLOAT")
    with pytest.raises(MediaError, match="samples of 20000, and full scale is 1; scale them"):
        media.load(out.getvalue(), VIEW)


@pytest.mark.parametrize("rate", [1, 500, 4_000_000])
def test_absurd_rates_are_refused(rate):
    out = io.BytesIO()
    soundfile.write(out, np.zeros(100, np.float32), rate, format="WAV")
    with pytest.raises(MediaError, match=f"sample rate {rate} Hz must be within 1000 and 768000"):
        media.load(out.getvalue(), VIEW)


def test_an_ogg_page_with_another_sum_is_refused(tone):
    data = bytearray(tone(440, kind="OGG"))
    data[len(data) // 2] ^= 1
    with pytest.raises(MediaError, match=r"the Ogg page at byte \d+ has another checksum"):
        media.load(bytes(data), VIEW)


def test_sound_that_begins_after_its_picture_stays_with_it(clip):
    """Half a second of picture, then picture and sound."""
    early = clip([100] * 12, tone=440)
    out = io.BytesIO()
    with av.open(io.BytesIO(early)) as source, av.open(out, "w", format="matroska") as container:
        tracks = {s.index: container.add_stream_from_template(s) for s in source.streams}
        for packet in source.demux():
            if packet.dts is not None:
                half = int(0.5 / packet.time_base) if packet.stream.type == "audio" else 0
                packet.stream = tracks[packet.stream_index]
                packet.pts += half
                packet.dts += half
                container.mux(packet)
    late = media.load(out.getvalue(), AudioView(frames=20))
    assert late[:5].max() < -10
    assert late[9].max() > 3


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "OGG", "MP3", "AIFF"])
def test_a_stretch_is_the_same_whether_sought_or_read_up_to(kind):
    rng = np.random.default_rng(0)
    out = io.BytesIO()
    soundfile.write(out, rng.normal(0, 0.1, 48_000), 16_000, format=kind)
    whole, rate = sound.decode(out.getvalue())
    for start, seconds in ((0.0, 0.5), (1.1, 0.7), (2.5, 9.0)):
        first = round(start * rate)
        found, _ = sound.decode(out.getvalue(), start=start, seconds=seconds)
        assert (found == whole[first : first + round(seconds * rate)]).all()


def test_a_stretch_ends_in_silence(tone):
    found = audio.load_many(tone(440), [VIEW], start=0.2, end=0.4)[VIEW.key]
    assert found[0].max() > 3
    np.testing.assert_allclose(found[5:], np.log(1e-6), rtol=1e-6)


def test_recordings_without_samples_or_over_the_limit(tone):
    with pytest.raises(MediaError, match="has no audio samples"):
        media.load(tone(440, seconds=0), VIEW)
    with pytest.raises(MediaError, match=r"2\.0 s are over the limit of 1 s"):
        media.load(tone(440, seconds=2), VIEW, limits=Limits(max_seconds=1.0))


def test_a_recording_may_start_later(tone):
    samples = np.concatenate([np.zeros(8000), np.sin(np.arange(16_000) * 0.3)])
    out = io.BytesIO()
    soundfile.write(out, samples, 16_000, format="WAV")
    early, late = (
        audio.load_many(out.getvalue(), [VIEW], start=start)[VIEW.key] for start in (0.0, 0.5)
    )
    assert early[0].max() < -10 < 3 < late[0].max()
    with pytest.raises(MediaError, match="past the end"):
        audio.load_many(out.getvalue(), [VIEW], start=2.0)
