"""SPEC: how a benchmark is named on the command line, [NAME=]KIND:PLACE[,key=value…].

KIND:PLACE is a source of imp_data.sources, or `dataset:DIR` that `imp-data build` wrote. Keys:

modality   image, video or audio, or several joined by "+"; else what the layout or the files tell
root       folder of a manifest's media
test       split that is scored, or several joined by "+", or *; else test, or val
train val  splits of the linear probe and the neighbours; else those of these names
prompts    a set of imp_eval.prompts.ENSEMBLES, or a file of a template a line
clips      of each video; else 8, as in the paper
sample     so many examples of the test split alone, the same ones every time
captions   stem: files are captioned by their names
"""

import dataclasses
import pathlib
import re

from imp_data.sources import READERS

KEYS = ("modality", "root", "test", "train", "val", "prompts", "clips", "sample", "captions")
_FORM = re.compile(r"(?:(?P<name>[\w.-]+)=)?(?P<kind>[a-z0-9]+):(?P<place>.+)", re.DOTALL)
_OPTION = re.compile(rf",({'|'.join(KEYS)})=")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Spec:
    """What a SPEC says; empty or None where it says nothing."""

    text: str
    name: str
    kind: str
    place: str
    modality: tuple[str, ...] = ()
    root: str | None = None
    test: tuple[str, ...] = ()
    train: tuple[str, ...] = ()
    val: tuple[str, ...] = ()
    prompts: str | None = None
    clips: int = 8
    sample: int | None = None
    captions: str | None = None

    @classmethod
    def parse(cls, text: str) -> "Spec":
        """Raises ValueError for what is no SPEC, quoting it."""
        head, *rest = _OPTION.split(text)
        match = _FORM.fullmatch(head)
        if match is None:
            raise ValueError(f"benchmark {text!r} is unclear; write [NAME=]KIND:PLACE[,key=value…]")
        if odd := re.search(r",(\w+)=", head):
            raise ValueError(f"benchmark {text!r} has no key {odd[1]!r}; keys: {', '.join(KEYS)}")
        options: dict[str, str] = {}
        for key, value in zip(rest[::2], rest[1::2], strict=True):
            if key in options or not value:
                raise ValueError(f"benchmark {text!r} needs one value of {key}")
            options[key] = value
        kind, place = match["kind"], match["place"]
        if kind != "dataset" and kind not in READERS:
            kinds = ", ".join(["dataset", *READERS])
            raise ValueError(f"benchmark {text!r}: kind {kind!r} is unknown; one of {kinds}")
        return cls(
            text=text,
            name=match["name"] or _name(kind, place),
            kind=kind,
            place=place,
            modality=_words(options.get("modality")),
            root=options.get("root"),
            test=_words(options.get("test")),
            train=_words(options.get("train")),
            val=_words(options.get("val")),
            prompts=options.get("prompts"),
            clips=_number(text, "clips", options.get("clips", "8")),
            sample=_number(text, "sample", options["sample"]) if "sample" in options else None,
            captions=options.get("captions"),
        )


def _words(value: str | None) -> tuple[str, ...]:
    return tuple(value.split("+")) if value else ()


def _number(text: str, key: str, value: str) -> int:
    if not value.isdecimal() or int(value) < 1:
        raise ValueError(
            f"benchmark {text!r}: {key} {value!r} must be a whole number of at least 1"
        )
    return int(value)


def _name(kind: str, place: str) -> str:
    """The layout's, or for one's own files the place's last word that says something."""
    if kind not in OWN_KINDS:
        return kind
    path = pathlib.PurePath(place)
    generic = path.stem in ("manifest", "metadata", "test", "val") and path.parent.name
    found = path.parent.name if generic else path.stem or kind
    return re.sub(r"[^\w.-]+", "-", found).strip("-") or kind


# Those that say nothing of what they hold.
OWN_KINDS = ("folder", "glob", "csv", "tsv", "jsonl", "parquet", "webdataset", "dataset")
