"""Prompt templates: what is wrapped around a class name before it is embedded as text."""

from collections.abc import Sequence

TEMPLATES: dict[str, tuple[str, ...]] = {
    "image": ("{}", "a picture of {}", "an image of a {}", "an icon of {}"),
    "video": ("{}", "a video of {}", "a clip of someone who does {}"),
    "audio": ("{}", "the sound of {}", "a recording of {}"),
    "text": ("{}", "about {}"),
}

# What an evaluation averages over, by the kind of picture, clip or sound that a benchmark holds.
ENSEMBLES: dict[str, tuple[str, ...]] = {
    "name": ("{}",),
    "photo": (
        "{}",
        "a photo of a {}",
        "a photo of the {}",
        "a photo of one {}",
        "a photo of many {}",
        "a close-up photo of a {}",
        "a bright photo of a {}",
        "a dark photo of a {}",
        "a blurry photo of a {}",
        "a small picture of a {}",
        "a large picture of a {}",
        "a drawing of a {}",
    ),
    "action": (
        "{}",
        "a video of {}",
        "a video of a person {}",
        "a video of people {}",
        "a clip of someone doing {}",
        "a person is {}",
        "an example of {}",
        "the activity of {}",
    ),
    "sound": (
        "{}",
        "the sound of {}",
        "a sound of a {}",
        "a recording of {}",
        "one can hear {}",
        "{} in the background",
        "a loud {}",
        "a quiet {}",
    ),
}


def fill(templates: Sequence[str], class_names: Sequence[str]) -> list[list[str]]:
    """The prompts of each class: `len(class_names)` lists of `len(templates)` texts.

    Raises ValueError for no template, or one that doesn't hold `{}` exactly once.
    """
    if not templates:
        raise ValueError("no templates; give at least '{}'")
    for template in templates:
        if template.count("{}") != 1:
            raise ValueError(
                f"template {template[:80]!r} must hold {{}} once, where the class name goes"
            )
    # Not str.format: a name or template may hold other braces.
    return [[t.replace("{}", name) for t in templates] for name in class_names]
