"""errands: BabyAI levels of minigrid solved by BabyAI's own bot; the mission is the caption."""

import contextlib
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from imp_data.samples.clips import write_mp4
from imp_data.samples.corpus import Chunk, Corpus, Row, rng_of, split_seed
from imp_data.samples.manifests import write_csv

# level -> (train, test) episodes. All of it happens in the agent's own room.
LEVELS = {
    "GoToLocal": (120, 16),
    "PickupLoc": (120, 16),
    "PutNextLocal": (280, 60),
    "GoToDoor": (40, 4),
    "OpenDoor": (40, 4),
    "OpenTwoDoors": (100, 20),
}
PER_CHUNK = 40
SIDE = 128
FPS = 8
FRAMES = 17
LEAST_STEPS = 3
# "a ball" is one of several; "the object" and "in front of you" cannot be told from the clip.
_UNCLEAR = (" a ", " object", " in front ", " behind ", " on your ", " left", " right")


def plan(seed: int, limit: int | None) -> list[Chunk]:
    chunks = []
    for level, counts in LEVELS.items():
        for split, most in zip(("train", "test"), counts, strict=True):
            count = most if limit is None else min(limit, most)
            # A test chunk is a whole level's, as no two of its missions are the same.
            step = PER_CHUNK if split == "train" else count
            for first in range(0, count, step):
                size = min(step, count - first)
                items = (level, split, first, size)
                chunks.append(Chunk(seed=seed, size=size, items=items))
    return chunks


def frame_of(env: Any) -> np.ndarray:
    """The agent's room with its walls, seen whole: uint8 [128, 128, 3]."""
    from minigrid.core.grid import Grid

    room = env.room_from_pos(*env.agent_pos)
    (left, top), (width, height) = room.top, room.size
    tile = SIDE // max(width, height)
    frame = np.zeros((SIDE, SIDE, 3), np.uint8)
    margins = ((SIDE - height * tile) // 2, (SIDE - width * tile) // 2)
    agent = (int(env.agent_pos[0]), int(env.agent_pos[1]))
    for row in range(height):
        for column in range(width):
            place = (left + column, top + row)
            facing = int(env.agent_dir) if place == agent else None
            y, x = margins[0] + row * tile, margins[1] + column * tile
            # Grid.render_tile keeps what it has drawn.
            frame[y : y + tile, x : x + tile] = Grid.render_tile(
                env.grid.get(*place), facing, tile_size=tile
            )
    return frame


def run_errand(env: Any, seed: int) -> tuple[str, list[np.ndarray]] | None:
    """Mission and FRAMES frames; None where it is unclear, or too short or long to show whole."""
    from minigrid.utils.baby_ai_bot import BabyAIBot

    env.reset(seed=seed)
    mission = env.mission
    if any(phrase in f" {mission} " for phrase in _UNCLEAR):
        return None
    bot = BabyAIBot(env)
    frames = [frame_of(env)]
    action = None
    while len(frames) < FRAMES:
        action = bot.replan(action)
        _, reward, done, _, _ = env.step(action)
        frames.append(frame_of(env))
        if done:
            if reward <= 0 or len(frames) <= LEAST_STEPS:
                return None
            return mission, frames + [frames[-1]] * (FRAMES - len(frames))
    return None


def episodes(level: str, split: str, seed: int, first: int) -> Iterator[tuple[str, Any]]:
    """Without end. Train and test never share an environment seed; test missions are distinct."""
    import gymnasium
    import minigrid  # noqa: F401  (registers the levels)

    env: Any = gymnasium.make(f"BabyAI-{level}-v0").unwrapped
    # Nobody looks through the agent's own eyes, and drawing that view is half of the time.
    env.gen_obs = dict
    rng = rng_of("errands", level, split, split_seed(seed, split), first)
    seen = set()
    while True:
        # Even seeds train, odd ones test.
        env_seed = 2 * int(rng.integers(2**30)) + (split == "test")
        with contextlib.redirect_stdout(io.StringIO()):
            episode = run_errand(env, env_seed)
        if episode is not None and not (split == "test" and episode[0] in seen):
            seen.add(episode[0])
            yield episode


def write_chunk(folder: Path, chunk: Chunk) -> list[Row]:
    (folder / "episodes").mkdir(parents=True, exist_ok=True)
    level, split, first, count = chunk.items
    rows = []
    found = episodes(level, split, chunk.seed, first)
    for number, (mission, frames) in zip(range(first, first + count), found, strict=False):
        path = f"episodes/{level.lower()}-{split}-{number:03d}.mp4"
        write_mp4(folder / path, frames, FPS)
        rows.append(Row(path=path, caption=mission, label=level, split=split))
    return rows


def finish(folder: Path, rows: Sequence[Row]) -> None:
    write_csv(folder, rows)


CORPUS = Corpus(
    name="errands",
    version=1,
    packages={"minigrid": "minigrid", "gymnasium": "gymnasium", "av": "av"},
    plan=plan,
    write_chunk=write_chunk,
    finish=finish,
)
