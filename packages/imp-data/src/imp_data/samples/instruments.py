"""instruments: General MIDI notes of the TimGM6mb soundfont; the class is the GM family."""

import functools
import io
import re
from pathlib import Path
from typing import Any

import numpy as np

from imp_data.samples.corpus import Chunk, Corpus, Row, rng_of, split_seed
from imp_data.samples.manifests import write_nothing

PITCHES = range(36, 80, 2)
# (program, pitch) that the soundfont leaves without sound.
SILENT = {(65, 64)}
NOTES = {"train": 14, "test": 3}
SECONDS = 2.1
SLOT = 2.2
SAMPLE_RATE = 22_050
WAV_EVERY = 16
PROGRAMS_PER_FAMILY = 8
ALL_SOUND_OFF = 120
LEAST_PEAK = 1e-3


@functools.cache
def _soundfont() -> bytes:
    import pretty_midi

    return (Path(pretty_midi.__file__).parent / "TimGM6mb.sf2").read_bytes()


def slug(name: str) -> str:
    return "-".join(re.findall(r"[a-z0-9]+", name.lower()))


def plan(seed: int, limit: int | None) -> list[Chunk]:
    """One chunk for each of the 128 programs; limit: so many of each family."""
    size = sum(NOTES.values())
    programs = [
        p for p in range(128) if limit is None or p % PROGRAMS_PER_FAMILY < max(limit // size, 1)
    ]
    return [Chunk(seed=seed, size=size, items=program) for program in programs]


def notes_of(program: int, seed: int) -> list[tuple[str, int, int, float]]:
    """(split, pitch, velocity, seconds held); which pitches are held out does not hang on seed."""
    sounding = [pitch for pitch in PITCHES if (program, pitch) not in SILENT]
    pitches = rng_of("instruments", program).choice(sounding, sum(NOTES.values()), replace=False)
    splits = [split for split, count in NOTES.items() for _ in range(count)]
    notes = []
    for split, pitch in zip(splits, pitches.tolist(), strict=True):
        rng = rng_of("instruments", split_seed(seed, split), program, pitch)
        notes.append((split, pitch, int(rng.integers(60, 128)), float(rng.uniform(1.0, 1.7))))
    return notes


def render(program: int, notes: list[Any]) -> list[np.ndarray]:
    """One waveform a note: float32 [SECONDS * SAMPLE_RATE], the louder the higher its velocity."""
    import midirenderer
    import pretty_midi
    import soundfile
    import soxr

    part = pretty_midi.Instrument(program)
    for slot, (_, pitch, velocity, held) in enumerate(notes):
        start = slot * SLOT + 0.01
        part.notes.append(pretty_midi.Note(velocity, pitch, start, start + held))
        # Nothing of a note rings on in the next.
        end = (slot + 1) * SLOT - 0.04
        part.control_changes.append(pretty_midi.ControlChange(ALL_SOUND_OFF, 0, end))
    song = pretty_midi.PrettyMIDI()
    song.instruments.append(part)
    midi = io.BytesIO()
    song.write(midi)
    sound, rate = soundfile.read(
        io.BytesIO(midirenderer.render_wave_from(_soundfont(), midi.getvalue())), dtype="float32"
    )
    sound = soxr.resample((sound[:, 0] + sound[:, 1]) / 2, rate, SAMPLE_RATE, quality="MQ")
    waves = []
    for slot, (_, pitch, velocity, _) in enumerate(notes):
        first = round(slot * SLOT * SAMPLE_RATE)
        wave = sound[first : first + round(SECONDS * SAMPLE_RATE)]
        # Some samples of the soundfont do not swing about zero.
        wave = wave - wave.mean()
        peak = float(np.abs(wave).max())
        assert peak > LEAST_PEAK, f"program {program} is silent at pitch {pitch}"
        waves.append(wave * (0.9 * velocity / 127 / peak))
    return waves


def write_chunk(folder: Path, chunk: Chunk) -> list[Row]:
    import pretty_midi
    import soundfile

    program = chunk.items
    name = slug(pretty_midi.program_to_instrument_name(program))
    family = slug(pretty_midi.program_to_instrument_class(program))
    notes = notes_of(program, chunk.seed)
    rows = []
    for number, ((split, pitch, _, _), wave) in enumerate(
        zip(notes, render(program, notes), strict=True)
    ):
        ending = "wav" if (program + number) % WAV_EVERY == 0 else "flac"
        speed = {"compression_level": 0.0} if ending == "flac" else {}
        path = f"{split}/{family}/{name}-{pitch}.{ending}"
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(folder / path, wave, SAMPLE_RATE, subtype="PCM_16", **speed)
        rows.append(Row(path=path, caption=name.replace("-", " "), label=family, split=split))
    return rows


CORPUS = Corpus(
    name="instruments",
    version=2,
    packages={
        "midirenderer": "midirenderer",
        "pretty_midi": "pretty-midi",
        "soundfile": "soundfile",
        "soxr": "soxr",
    },
    plan=plan,
    write_chunk=write_chunk,
    finish=write_nothing,
)
