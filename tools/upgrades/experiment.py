"""The run whose checkpoint and bundle are kept: every modality, both kinds of layer, width 8."""

from pathlib import Path

from imp_data.views import AudioView, ImageView, TextView, VideoView
from imp_model.config import ModelConfig
from imp_train.config import Experiment, OptimizerConfig
from imp_train.objectives import NCE, SCE
from imp_train.sampler import Interval
from imp_train.tasks import Task, Variant

IMAGE = ImageView(size=8)
VIDEO = VideoView(frames=2, size=8, fps=2.0)
AUDIO = AudioView(frames=8, num_mels=8, hop=2_048)
TEXT = TextView(length=8)
# The checkpoint that is kept: one step of each task before it, and after it.
SAVED_AT = 3


def experiment(data: Path) -> Experiment:
    """`data` relative: the paths in it are part of what a run must find again."""
    return Experiment(
        name="upgrades",
        model=ModelConfig(
            width=8,
            mlp=16,
            num_heads=2,
            num_dense_layers=1,
            num_moe_layers=1,
            num_experts=2,
            patch=(2, 4, 4),
            audio_patch=(4, 4),
            vision_positions=(2, 4, 4),
            audio_positions=(4, 4),
            text_positions=8,
            vocab_size=280,
            dtype="float32",
        ),
        tasks=(
            Task(
                name="captions",
                dataset=data / "pictures",
                objective=NCE(source="image", target="text"),
                variants=(Variant(views=(IMAGE, TEXT), batch_size=2),),
                weight=1,
            ),
            Task(
                name="classes",
                dataset=data / "pictures",
                objective=SCE(modality="image", classifier="colours"),
                variants=(Variant(views=(IMAGE,), batch_size=2),),
                weight=1,
            ),
            Task(
                name="sounds",
                dataset=data / "clips",
                objective=NCE(source="video", target="audio"),
                variants=(Variant(views=(VIDEO, AUDIO), batch_size=2),),
                weight=1,
            ),
        ),
        steps=2 * SAVED_AT,
        optimizer=OptimizerConfig(peak_rate=1e-3),
        sampler=Interval(),
        views=(IMAGE, VIDEO, AUDIO, TEXT),
        tokenizer=data / "pictures" / "tokenizer.model",
        checkpoint_every=SAVED_AT,
        log_every=1,
    )
