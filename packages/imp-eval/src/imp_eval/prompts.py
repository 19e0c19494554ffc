"""Prompt templates: what is wrapped around a class name before it is embedded as text."""

from collections.abc import Sequence

TEMPLATES: dict[str, tuple[str, ...]] = {
    "image": ("{}", "a picture of {}", "an image of a {}", "an icon of {}"),
    "video": ("{}", "a video of {}", "a clip of someone who does {}"),
    "audio": ("{}", "the sound of {}", "a recording of {}"),
    "text": ("{}", "about {}"),
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
