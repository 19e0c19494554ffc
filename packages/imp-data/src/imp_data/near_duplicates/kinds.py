"""Kinds of comparison: by the picture, the frames, the sound, the words, or the very bytes."""

import dataclasses
import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, get_args

import numpy as np
from PIL import Image

from imp_data import media
from imp_data.media import image
from imp_data.media.limits import Limits
from imp_data.near_duplicates import dct_hash, minhash, pictures, sound
from imp_data.near_duplicates.fingerprints import Fingerprints
from imp_data.views import AudioView, ImageView, VideoView, View

Kind = Literal["bytes", "image", "video", "audio", "text"]
KINDS: tuple[Kind, ...] = get_args(Kind)
"""The first that finds a pair names the reason."""
_PATCH_SIDE = 64
CLIP = VideoView(frames=64, size=_PATCH_SIDE, fps=2.0)
"""Two frames a second, of the first half minute."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Comparison:
    """How two items are compared.

    `similarity(a, b, pairs, threshold)` scores rows, exactly where a score reaches the threshold,
    and otherwise with any value below it. Two items are alike where it does so for `share` of the
    rows of the one that has fewer, and always for one.
    `num_columns` is that of hashes each of which is a key of its own; 0 for hashes of bits.
    """

    similarity: Callable[[Fingerprints, Fingerprints, np.ndarray, float], np.ndarray]
    threshold: float
    share: float
    num_columns: int


def _equal(a: Fingerprints, b: Fingerprints, pairs: np.ndarray, threshold: float) -> np.ndarray:
    return np.ones(len(pairs), np.float32)


COMPARISONS: dict[Kind, Comparison] = {
    "bytes": Comparison(similarity=_equal, threshold=1.0, share=0.0, num_columns=1),
    "image": Comparison(similarity=pictures.similarity, threshold=0.95, share=0.0, num_columns=0),
    "video": Comparison(similarity=pictures.similarity, threshold=0.95, share=0.6, num_columns=0),
    "audio": Comparison(similarity=sound.similarity, threshold=0.93, share=0.6, num_columns=0),
    "text": Comparison(
        similarity=minhash.similarity, threshold=0.8, share=0.0, num_columns=minhash.NUM_BANDS
    ),
}

LEAST_SIMILARITY = 0.5
"""Below it the bands would not bring a pair together, and nobody would call it alike."""


def with_thresholds(wanted: Mapping[str, float]) -> dict[Kind, Comparison]:
    """COMPARISONS, with some thresholds set. Raises ValueError for one that makes no sense."""
    settable = [kind for kind in KINDS if kind != "bytes"]
    for kind, threshold in wanted.items():
        if kind not in settable:
            raise ValueError(
                f"similarity of {kind!r} can't be set; choose among {', '.join(settable)}"
            )
        if not LEAST_SIMILARITY <= threshold <= 1:
            raise ValueError(
                f"similarity {kind}={threshold} must lie within {LEAST_SIMILARITY} and 1"
            )
    return COMPARISONS | {
        kind: dataclasses.replace(COMPARISONS[kind], threshold=wanted[kind])
        for kind in KINDS
        if kind in wanted
    }


def of_views(views: Sequence[View]) -> tuple[Kind, ...]:
    """What examples of these views are compared by unless told: what one sees, else hears."""
    modalities = {view.modality for view in views}
    for kind in ("image", "video", "audio"):
        if kind in modalities:
            return (kind,)
    raise ValueError("views of text alone can't be compared; name --compare text")


def of_bytes(
    data: bytes, kind: Kind, *, limits: Limits, start: float = 0.0, end: float | None = None
) -> Fingerprints:
    """A file's fingerprints of a kind but text, from `start` to `end` seconds. Raises MediaError.

    Other times of the same file count as other bytes.
    """
    whole = start == 0 and end is None
    if kind == "bytes":
        return of_digest(data if whole else data + f"{start} {end}".encode())
    if kind == "image":
        return pictures.of_picture(image.decode(data, limits=limits, size=_PATCH_SIDE))
    if kind == "video":
        return pictures.of_frames(clip_of(data, CLIP, limits=limits, start=start, end=end))
    assert kind == "audio"
    return sound.of_spectrogram(clip_of(data, sound.VIEW, limits=limits, start=start, end=end))


def clip_of(
    data: bytes, view: View, *, limits: Limits, start: float, end: float | None
) -> np.ndarray:
    return media.load_many(data, [view], limits=limits, start=start, end=end)[view.key]


def of_digest(data: bytes) -> Fingerprints:
    digest = hashlib.blake2b(data, digest_size=8).digest()
    key = np.frombuffer(digest, "<u8").astype(np.uint64).reshape(1, 1)
    return Fingerprints.of_item(key, key, np.zeros((1, 0), np.uint8))


def of_array(array: np.ndarray, view: View) -> Fingerprints:
    """Of an example as a built dataset stores it; `check_comparable` holds for the view."""
    if isinstance(view, ImageView):
        return pictures.of_picture(Image.fromarray(array))
    if isinstance(view, VideoView):
        return pictures.of_frames(array[sampled_frames(view)])
    return sound.of_spectrogram(array)


def check_comparable(view: View) -> None:
    """Raises ValueError for a view too coarse to compare."""
    if isinstance(view, ImageView | VideoView) and view.size < dct_hash.SIZE:
        wanted = f"at least {dct_hash.SIZE} pixels"
    elif isinstance(view, AudioView) and view != dataclasses.replace(
        sound.VIEW, frames=view.frames
    ):
        wanted = sound.VIEW.key
    else:
        return
    raise ValueError(
        f"its view {view.key} can't be compared, which needs {wanted}; name the source that the "
        "dataset was built from"
    )


def finest(views: Sequence[View], kind: Kind) -> View:
    """The stored view with most to compare. Raises ValueError where none is of the kind."""
    suited = [view for view in views if view.modality == kind]
    if not suited:
        raise ValueError(f"it stores no {kind} view, only {', '.join(v.key for v in views)}")
    return max(suited, key=lambda view: (math.prod(view.shape), view.key))


def empty(kind: Kind) -> Fingerprints:
    """Of one item that has nothing to compare: no rows, but arrays shaped as the kind's."""
    if kind == "bytes":
        return of_digest(b"").without_rows()
    if kind == "text":
        return minhash.of_texts(())
    if kind == "audio":
        return sound.of_spectrogram(np.zeros((1, sound.VIEW.num_mels), np.float32))
    return pictures.of_patches(np.zeros((1, dct_hash.SIZE, dct_hash.SIZE, 3), np.float32))


def sampled_frames(view: VideoView) -> np.ndarray:
    """int64 [t]: of a stored clip, the frames nearest to the times at which files are sampled."""
    seconds = np.arange(int(view.frames / view.fps * CLIP.fps) or 1) / CLIP.fps
    return np.minimum(np.rint(seconds * view.fps).astype(np.int64), view.frames - 1)[: CLIP.frames]
