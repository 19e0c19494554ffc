"""The sets that IMP was pretrained on (section 4.1), and the tasks that each is good for.

WebLI, JFT-3B and WTS-70M are not public: build sets of your own under these names, or leave them
out. VGGSound is ours beside them, for the paper names no set of sounds with one label each.
"""

from collections.abc import Sequence
from pathlib import Path

from imp_data.augment import Augment
from imp_train.experiments.resolutions import Beside, Resolutions
from imp_train.objectives import BCE, NCE, SCE, Objective
from imp_train.tasks import Task

# A task is what is seen and what it is compared with: "text" a caption, "label" a class's name in a
# prompt, "audio" a clip's own sound; "sce" and "bce" classify, the latter where labels are several.
TASKS: dict[str, tuple[str, ...]] = {
    "webli": ("image-text",),
    "laion400m": ("image-text",),
    "wit": ("image-text",),
    "cc12m": ("image-text",),
    "vcc": ("video-text",),
    "jft3b": ("image-bce", "image-label"),
    "i21k": ("image-sce", "image-label"),
    "wts70m": ("video-sce", "video-label"),
    "ht100m": ("video-audio", "video-text"),
    "audioset": ("video-audio", "video-label", "audio-label", "video-bce", "audio-bce"),
    "vggsound": ("audio-label", "audio-sce"),
}
PROMPTS: dict[str, tuple[str, ...]] = {
    "image": ("{}", "a photo of {}", "a picture of {}", "an image of {}", "a close-up of {}"),
    "video": ("{}", "a video of {}", "a clip of {}", "someone is {}", "footage of {}"),
    "audio": ("{}", "the sound of {}", "a recording of {}", "one can hear {}"),
}
# A class outlives a crop and a mirror; what a caption says may not, and captions are many.
LABELLED = Augment(crop_scale=(0.5, 1.0), flip=True)


def objective(corpus: str, kind: str) -> Objective:
    """`kind` is one of TASKS' words. Sight and sound of one set share its classifier."""
    modality, what = kind.split("-")
    match what:
        case "sce":
            return SCE(modality=modality, classifier=corpus)
        case "bce":
            return BCE(modality=modality, classifier=corpus)
        case "label":
            return NCE(source=modality, target="text", texts="label", prompts=PROMPTS[modality])
    return NCE(source=modality, target=what)


def task(data: Path, corpus: str, kind: str, resolutions: Resolutions) -> Task:
    """The task that `kind` is, of the dataset data / corpus."""
    modality, what = kind.split("-")
    beside: dict[str, Beside] = {"text": "caption", "label": "label", "audio": "audio"}
    labelled = what in ("label", "sce", "bce") and modality == "image"
    return Task(
        name=f"{corpus}/{kind}",
        dataset=data / corpus,
        objective=objective(corpus, kind),
        variants=resolutions.variants(modality, beside.get(what)),
        augment=LABELLED if labelled else None,
    )


def check(corpora: Sequence[str]) -> None:
    """Raises ValueError naming the known sets."""
    if not corpora:
        raise ValueError(f"choose one set at least among {', '.join(TASKS)}")
    for corpus in corpora:
        if corpus not in TASKS:
            raise ValueError(f"dataset {corpus!r} is unknown; choose among {', '.join(TASKS)}")
