"""games: clips with sound of Atari 2600 games under a random agent, by the Arcade Learning
Environment; the caption is the game's name."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from imp_data.samples.clips import write_mp4
from imp_data.samples.corpus import Chunk, Corpus, Row, rng_of, split_seed
from imp_data.samples.manifests import write_jsonl

# ROM -> the game's name. All draw 160 x 210 and sound under random play. Loading the ROMs combat,
# joust, maze_craze and warlords would end the process.
GAMES = {
    "assault": "assault",
    "asteroids": "asteroids",
    "atlantis": "atlantis",
    "beam_rider": "beam rider",
    "breakout": "breakout",
    "centipede": "centipede",
    "chopper_command": "chopper command",
    "demon_attack": "demon attack",
    "enduro": "enduro",
    "frogger": "frogger",
    "gravitar": "gravitar",
    "hero": "hero",
    "ice_hockey": "ice hockey",
    "jamesbond": "james bond",
    "kangaroo": "kangaroo",
    "ms_pacman": "ms pacman",
    "phoenix": "phoenix",
    "pitfall": "pitfall",
    "pong": "pong",
    "qbert": "qbert",
    "riverraid": "river raid",
    "seaquest": "seaquest",
    "space_invaders": "space invaders",
    "yars_revenge": "yars revenge",
}
CLIPS = {"train": 18, "test": 6}
CLIPS_PER_EPISODE = {"train": 4, "test": 2}
FRAME_SKIP = 4
FPS = 15
FRAMES = 32
TICK_SAMPLES = 512
TICK_RATE = 60
SAMPLE_RATE = 24_000
LEAST_RMS = 0.01


def plan(seed: int, limit: int | None) -> list[Chunk]:
    """One chunk a game, with its test clips first: they are then the same whatever the seed."""
    chunks = []
    for rom in GAMES:
        counts = {s: n if limit is None else min(limit, n) for s, n in CLIPS.items()}
        chunks.append(Chunk(seed=seed, size=sum(counts.values()), items=(rom, counts)))
    return chunks


def _console(rom: str) -> Any:
    import ale_py
    from ale_py import roms

    ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)
    ale = ale_py.ALEInterface()
    # All chance is the agent's.
    ale.setInt("random_seed", 0)
    ale.setFloat("repeat_action_probability", 0.0)
    ale.setBool("sound_obs", True)
    path = roms.get_rom_path(rom)
    assert path is not None, f"ale-py does not carry {rom}"
    ale.loadROM(path)
    return ale


def _actions(ale: Any, rng: np.random.Generator) -> Iterator[Any]:
    """FIRE, which starts most games, and then random actions, each held a while."""
    from ale_py import Action

    legal = ale.getMinimalActionSet()
    fire = Action.FIRE if Action.FIRE in legal else legal[0]
    for action in (fire, legal[0]):
        yield from [action] * 8
    while True:
        yield from [legal[rng.integers(len(legal))]] * int(rng.integers(3, 17))


def _clip(ale: Any, actions: Iterator[Any]) -> tuple[list[np.ndarray], np.ndarray] | None:
    """Frames uint8 [210, 160, 3] and sound float32 [ticks * 512]; None where the game ends."""
    frames, sound = [], []
    for _ in range(FRAMES):
        for tick in range(FRAME_SKIP):
            ale.act(next(actions))
            sound.append(np.array(ale.getAudio()))
            if tick == FRAME_SKIP - 2:
                previous = ale.getScreenRGB()
        # Sprites that flicker are drawn on every other tick: the brighter of two shows them all.
        frames.append(np.maximum(previous, ale.getScreenRGB()))
        if ale.game_over():
            return None
    wave = np.concatenate(sound).astype(np.float32)
    return frames, np.clip((wave - wave.mean()) / 96, -1, 1)


def play(ale: Any, split: str, seed: int, rom: str, count: int) -> Iterator[tuple[Any, np.ndarray]]:
    """`count` clips with sound, a few of each of several episodes."""
    rng = rng_of("games", rom, split, split_seed(seed, split))
    made = tries = 0
    while made < count:
        ale.reset_game()
        actions = _actions(ale, rng)
        wait = int(rng.integers(40, 240))
        for _ in range(CLIPS_PER_EPISODE[split]):
            tries += 1
            assert tries < 50 * count, f"{rom} makes no sound"
            for _ in range(wait):
                ale.act(next(actions))
            clip = None if ale.game_over() else _clip(ale, actions)
            if clip is None:
                break
            wait = int(rng.integers(20, 100))
            if made < count and np.sqrt(np.mean(clip[1] ** 2)) >= LEAST_RMS:
                made += 1
                yield clip


def write_chunk(folder: Path, chunk: Chunk) -> list[Row]:
    import soxr

    (folder / "clips").mkdir(parents=True, exist_ok=True)
    rom, counts = chunk.items
    name = GAMES[rom]
    ale = _console(rom)
    rows = []
    for split in ("test", "train"):
        for number, (frames, wave) in enumerate(play(ale, split, chunk.seed, rom, counts[split])):
            path = f"clips/{name.replace(' ', '-')}-{split}-{number:02d}.mp4"
            wave = soxr.resample(wave, TICK_SAMPLES * TICK_RATE, SAMPLE_RATE, quality="MQ")
            write_mp4(folder / path, frames, FPS, waveform=wave, sample_rate=SAMPLE_RATE)
            rows.append(Row(path=path, caption=name, label=name, split=split))
    return rows


def finish(folder: Path, rows: Sequence[Row]) -> None:
    write_jsonl(folder, rows)


CORPUS = Corpus(
    name="games",
    version=1,
    packages={"ale_py": "ale-py", "av": "av", "soxr": "soxr"},
    plan=plan,
    write_chunk=write_chunk,
    finish=finish,
)
