"""The quickstart: a tiny IMP-MoE over the five sample corpora, for two cores.

Every encoder input is 16 tokens (64x64 image, 128-mel spectrogram of 2 s, a name) or 64 (a clip, a
128x128 image); batches hold the same tokens in every variant.
"""

import dataclasses
from pathlib import Path

from imp_data.augment import Augment
from imp_data.views import AudioView, ImageView, TextView, VideoView
from imp_model.config import size
from imp_train.config import Experiment, OptimizerConfig
from imp_train.objectives import NCE, SCE
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
STEPS_PER_MINUTE = 120

EMOJI_PROMPTS = ("{}", "an emoji of {}", "a picture of {}", "{} emoji")
GAME_PROMPTS = ("{}", "a video of {}", "playing {}", "the game {}")
SOUND_PROMPTS = ("{}", "the sound of {}", "{} playing", "a recording of {}")


def quickstart(data: Path, *, minutes: float = 4.0, seed: int = 0, batch: int = 128) -> Experiment:
    """`data` holds one dataset a corpus and tokenizer.model; `minutes` of training on two cores."""
    model = dataclasses.replace(size("imp-moe-tiny"), vocab_size=VOCAB_SIZE)
    pictures = Augment(crop_scale=(0.8, 1.0), permute_channels=0.5)
    sounds = Augment(audio_roll=0.1)

    def image(text: bool = True) -> Variant:
        return Variant(views=(IMAGE, TEXT) if text else (IMAGE,), batch_size=batch)

    video_variants = (
        Variant(name="half", views=(VIDEO_HALF, TEXT), batch_size=batch),
        Variant(name="quarter-batch", views=(VIDEO, TEXT), batch_size=batch // 4),
        Variant(name="drop", views=(VIDEO, TEXT), batch_size=batch, drop={"video": 0.75}),
    )
    video_drop = Variant(name="drop", views=(VIDEO,), batch_size=batch, drop={"video": 0.75})
    video_audio = Variant(name="drop", views=(VIDEO, AUDIO), batch_size=batch, drop={"video": 0.75})
    audio = Variant(views=(AUDIO,), batch_size=batch)
    audio_text = Variant(views=(AUDIO, TEXT), batch_size=batch)
    image_text = NCE(source="image", target="text")
    video_text = NCE(source="video", target="text")

    tasks = (
        Task(
            name="icons/image-text",
            dataset=data / "icons",
            objective=image_text,
            variants=(image(),),
            weight=24,
            augment=pictures,
        ),
        Task(
            name="emoji/image-text",
            dataset=data / "emoji",
            objective=image_text,
            variants=(image(),),
            weight=4,
            augment=pictures,
        ),
        Task(
            name="emoji/image-label",
            dataset=data / "emoji",
            objective=NCE(source="image", target="text", texts="label", prompts=EMOJI_PROMPTS),
            variants=(image(),),
            weight=4,
            augment=pictures,
        ),
        Task(
            name="emoji/image-class",
            dataset=data / "emoji",
            objective=SCE(modality="image", classifier="emoji"),
            variants=(image(text=False),),
            weight=3,
            augment=pictures,
        ),
        Task(
            name="games/video-label",
            dataset=data / "games",
            objective=NCE(source="video", target="text", texts="label", prompts=GAME_PROMPTS),
            variants=video_variants,
            weight=6,
            augment=Augment(),
        ),
        Task(
            name="games/video-class",
            dataset=data / "games",
            objective=SCE(modality="video", classifier="games"),
            variants=(video_drop,),
            weight=3,
            augment=Augment(),
        ),
        Task(
            name="games/video-audio",
            dataset=data / "games",
            objective=NCE(source="video", target="audio"),
            variants=(video_audio,),
            weight=6,
            augment=Augment(),
        ),
        Task(
            name="games/audio-label",
            dataset=data / "games",
            objective=NCE(source="audio", target="text", texts="label", prompts=GAME_PROMPTS),
            variants=(audio_text,),
            weight=4,
            augment=sounds,
        ),
        Task(
            name="instruments/audio-class",
            dataset=data / "instruments",
            objective=SCE(modality="audio", classifier="instruments"),
            variants=(audio,),
            weight=3,
            augment=sounds,
        ),
        Task(
            name="instruments/audio-label",
            dataset=data / "instruments",
            objective=NCE(source="audio", target="text", texts="label", prompts=SOUND_PROMPTS),
            variants=(audio_text,),
            weight=4,
            augment=sounds,
        ),
        Task(
            name="errands/video-text",
            dataset=data / "errands",
            objective=video_text,
            variants=video_variants,
            weight=6,
            augment=Augment(),
        ),
    )
    steps = max(20, round(minutes * STEPS_PER_MINUTE))
    return Experiment(
        name="quickstart",
        model=model,
        tasks=tasks,
        steps=steps,
        optimizer=OptimizerConfig(peak_rate=2e-3, warmup_steps=min(50, steps // 10), b2=0.99),
        sampler=Stratified(),
        views=(IMAGE, VIDEO, AUDIO, TEXT),
        tokenizer=data / "tokenizer.model",
        seed=seed,
    )
