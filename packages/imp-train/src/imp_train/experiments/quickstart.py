"""The quickstart: a tiny IMP-MoE over the five sample corpora, for two cores.

Every encoder input is 16 tokens (a 64x64 image, 2 s of sound, a name, a clip seen through DropToken
or at half size) or 64 (a whole clip); the variants of a task hold the same tokens a batch.
"""

import dataclasses
from pathlib import Path

from imp_data.augment import Augment
from imp_data.views import AudioView, ImageView, TextView, VideoView
from imp_model.config import size
from imp_train.config import Experiment, OptimizerConfig
from imp_train.objectives import NCE, SCE, Objective
from imp_train.sampler import Stratified
from imp_train.tasks import Task, Variant

IMAGE = ImageView(size=64)
VIDEO, VIDEO_HALF = VideoView(frames=16, size=64, fps=8), VideoView(frames=16, size=32, fps=8)
AUDIO, TEXT = AudioView(frames=32), TextView(length=16)
# What each corpus must be built with.
STORED_VIEWS = {
    "icons": (IMAGE,),
    "emoji": (IMAGE,),
    "games": (VIDEO, VIDEO_HALF, AUDIO),
    "instruments": (AUDIO,),
    "errands": (VIDEO, VIDEO_HALF),
}
VOCAB_SIZE = 2048
STEPS_PER_MINUTE = 400
MINUTES = 4.5

# A fifth of a picture's side, so that no icon is learned by its place; a game's sound has no
# beginning; an instrument's has, but is the same instrument some semitones away.
ICON = Augment(crop_scale=(0.8, 1.0), brightness=0.1, contrast=0.2)
EMOJI = dataclasses.replace(ICON, flip=True)
GAME = Augment(audio_roll=1.0, audio_gain=0.5)
NOTE = Augment(audio_shift=3)

EMOJI_PROMPTS = ("{}", "an emoji of {}", "a picture of {}", "{} emoji")
GAME_PROMPTS = ("{}", "a video of {}", "playing {}", "the game {}")
SOUND_PROMPTS = ("{}", "the sound of {}", "{} playing", "a recording of {}")


def quickstart(data: Path, *, minutes: float = MINUTES, seed: int = 0) -> Experiment:
    """A tiny IMP-MoE over the five sample corpora, for two cores.

    `data` holds one dataset a corpus and tokenizer.model; `minutes` of training on two cores.

    Classification takes small batches and many steps, contrast larger ones (IMP section 3.4);
    weights count steps, as five corpora of such unlike sizes would else be one.
    """
    model = dataclasses.replace(size("imp-moe-tiny"), vocab_size=VOCAB_SIZE)
    augment = {"icons": ICON, "emoji": EMOJI, "games": GAME, "instruments": NOTE, "errands": None}

    def task(corpus: str, kind: str, objective: Objective, weight: float, *how: Variant) -> Task:
        return Task(
            name=f"{corpus}/{kind}",
            dataset=data / corpus,
            objective=objective,
            variants=how,
            weight=weight,
            augment=augment[corpus],
        )

    def label(source: str, prompts: tuple[str, ...]) -> NCE:
        return NCE(source=source, target="text", texts="label", prompts=prompts)

    def classes(modality: str, corpus: str) -> SCE:
        return SCE(modality=modality, classifier=corpus)

    icon_text = Variant(views=(IMAGE, TEXT), batch_size=128)
    image_text = Variant(views=(IMAGE, TEXT), batch_size=64)
    audio_text = Variant(views=(AUDIO, TEXT), batch_size=64)
    # The paper's three video variants: half the size, a quarter of the batch, DropToken.
    video_text = (
        Variant(name="half", views=(VIDEO_HALF, TEXT), batch_size=64),
        Variant(name="quarter-batch", views=(VIDEO, TEXT), batch_size=16),
        Variant(name="drop", views=(VIDEO, TEXT), batch_size=64, drop={"video": 0.75}),
    )
    video_audio = Variant(name="drop", views=(VIDEO, AUDIO), batch_size=64, drop={"video": 0.75})
    image = Variant(views=(IMAGE,), batch_size=64)
    video = Variant(name="drop", views=(VIDEO,), batch_size=64, drop={"video": 0.75})
    audio = Variant(views=(AUDIO,), batch_size=64)

    # Two dozen games are soon known; unseen names, and to a degree unheard pitches, are what more
    # time is for.
    more = max(1.0, minutes / MINUTES)
    names, families = 22 * more**0.7, 15 * more**0.2

    tasks = (
        task("icons", "image-text", NCE(source="image", target="text"), names, icon_text),
        task("emoji", "image-label", label("image", EMOJI_PROMPTS), 8, image_text),
        task("emoji", "image-class", classes("image", "emoji"), 6, image),
        task("games", "video-class", classes("video", "games"), 3, video),
        # One classifier for the frames and for the sound: it pulls the two together.
        task("games", "audio-class", classes("audio", "games"), 7, audio),
        task("games", "video-label", label("video", GAME_PROMPTS), 4, *video_text),
        task("games", "video-audio", NCE(source="video", target="audio"), 11, video_audio),
        task("games", "audio-label", label("audio", GAME_PROMPTS), 8, audio_text),
        task("instruments", "audio-class", classes("audio", "instruments"), families, audio),
        task("instruments", "audio-label", label("audio", SOUND_PROMPTS), families, audio_text),
        task("errands", "video-text", NCE(source="video", target="text"), 15, *video_text),
    )
    steps = max(20, round(minutes * STEPS_PER_MINUTE))
    return Experiment(
        name="quickstart",
        model=model,
        tasks=tasks,
        steps=steps,
        optimizer=OptimizerConfig(peak_rate=1e-3, warmup_steps=min(100, steps // 10), b2=0.99),
        sampler=Stratified(),
        views=(IMAGE, VIDEO, AUDIO, TEXT),
        tokenizer=data / "tokenizer.model",
        seed=seed,
    )
