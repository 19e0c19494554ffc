import io

import numpy as np
import soundfile

from imp_data.media.limits import DEFAULT_LIMITS
from imp_data.near_duplicates import dct_hash, fingerprints, kinds, sound
from imp_data.near_duplicates.alike import alike

RATE = 16_000


def melody(seed, seconds=4.0):
    """Notes of five harmonics, each of its own length."""
    rng = np.random.default_rng(seed)
    parts = []
    while sum(map(len, parts)) < seconds * RATE:
        time = np.arange(int(rng.uniform(0.15, 0.5) * RATE)) / RATE
        pitch = 110 * 2 ** (rng.integers(0, 36) / 12)
        note = sum(np.sin(2 * np.pi * pitch * k * time) / k for k in range(1, 6))
        parts.append(note * np.exp(-2 * time) * rng.uniform(0.1, 0.3))
    return np.concatenate(parts)[: int(seconds * RATE)]


def prints(waves, kind="WAV"):
    parts = []
    for wave in waves:
        out = io.BytesIO()
        soundfile.write(out, wave, RATE, format=kind)
        parts.append(kinds.of_bytes(out.getvalue(), "audio", limits=DEFAULT_LIMITS))
    return fingerprints.join(parts)


def pairs_alike(a, b):
    distances = np.bitwise_count(a.query[:, None, :, None] ^ b.index[None, :, None, :])
    near = np.stack(np.nonzero(distances <= dct_hash.MAX_DISTANCE), axis=1)
    items, _ = alike(a, b, near, kinds.COMPARISONS["audio"])
    return {tuple(pair) for pair in items.tolist()}


def test_copies_are_alike_and_other_melodies_are_not():
    waves = [melody(seed) for seed in range(12)]
    originals, same = prints(waves), {(i, i) for i in range(12)}
    assert pairs_alike(prints(waves, "OGG"), originals) == same
    assert pairs_alike(prints([wave / 8 for wave in waves]), originals) == same
    # Cut by whole frames, so that this is about time, not about what lies between two frames.
    assert pairs_alike(prints([wave[5 * 1_024 :] for wave in waves]), originals) == same


def test_silence_has_no_rows_and_its_length_does_not_count():
    assert len(prints([np.zeros(RATE)]).owner) == 0
    wave = melody(1)
    longer = prints([np.concatenate([wave, np.zeros(5 * RATE)])])
    assert len(longer.owner) == len(prints([wave]).owner)


def test_a_stored_spectrogram_has_the_fingerprint_of_its_file():
    from imp_data import media

    out = io.BytesIO()
    soundfile.write(out, melody(2), RATE, format="WAV")
    array = media.load(out.getvalue(), sound.VIEW)
    stored = kinds.of_array(array[:80], sound.VIEW)
    assert (stored.query == prints([melody(2)]).query).all()
