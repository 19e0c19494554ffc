"""The resolutions that a task is trained in, at equal tokens a batch (IMP section 4.1)."""

import dataclasses
from typing import Literal, TypeAlias

from imp_data.views import AudioView, ImageView, TextView, VideoView, View
from imp_train.tasks import Variant

# What stands beside a modality: a caption, a class's name, or a clip's sound.
Beside: TypeAlias = Literal["caption", "label", "audio"]
FRAMES, FPS = 16, 12.5
# 8.192 s, of the released code; the paper names no length.
AUDIO = AudioView(frames=128)
LABEL_LENGTH, CAPTION_LENGTH = 16, 256
# 1 - 1/4: of four frame tokens as many are left as a picture has.
DROP = 0.75


@dataclasses.dataclass(frozen=True, kw_only=True)
class Resolutions:
    """`size` pixels a side and `batch` examples are the base. With `several`, three variants of
    images (base; a quarter of the batch at double the size; double the size through DropToken) and
    three of video (half the size; a quarter of the batch; DropToken), all of the same tokens a
    batch. Without, the base alone, which costs four times as much of video as of images.
    """

    batch: int
    size: int
    several: bool
    caption_length: int = CAPTION_LENGTH

    def __post_init__(self) -> None:
        if self.several and (self.batch < 8 or self.batch % 4):
            raise ValueError(
                f"batch {self.batch} must be a multiple of 4, and at least 8: a variant takes a "
                "quarter of it"
            )
        if self.several and self.size % 32:
            raise ValueError(
                f"resolution {self.size} must be a multiple of 32: half of it is cut into patches "
                "of 16"
            )

    def image(self, *, double: bool = False) -> ImageView:
        return ImageView(size=self.size * 2 if double else self.size)

    def video(self, *, half: bool = False) -> VideoView:
        return VideoView(frames=FRAMES, size=self.size // 2 if half else self.size, fps=FPS)

    def caption(self) -> TextView:
        return TextView(length=self.caption_length)

    def variants(self, modality: str, beside: Beside | None) -> tuple[Variant, ...]:
        """Of a task on `modality`, alone or with what stands beside it."""
        others: dict[Beside | None, tuple[View, ...]] = {
            None: (),
            "caption": (self.caption(),),
            "label": (TextView(length=LABEL_LENGTH),),
            "audio": (AUDIO,),
        }

        def variant(name: str, view: View, *, share: int = 1, drop: float = 0.0) -> Variant:
            return Variant(
                name=name,
                views=(view, *others[beside]),
                batch_size=self.batch // share,
                drop={modality: drop} if drop else {},
            )

        match modality:
            case "image" if self.several:
                return (
                    variant("base", self.image()),
                    variant("double", self.image(double=True), share=4),
                    variant("drop", self.image(double=True), drop=DROP),
                )
            case "video" if self.several:
                return (
                    variant("half", self.video(half=True)),
                    variant("quarter-batch", self.video(), share=4),
                    variant("drop", self.video(), drop=DROP),
                )
        base: dict[str, View] = {"image": self.image(), "video": self.video(), "audio": AUDIO}
        return (variant("base", base[modality]),)
