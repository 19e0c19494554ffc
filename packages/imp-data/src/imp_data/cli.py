"""The command line: imp-data samples | build | tokenizer | inspect | verify."""

import dataclasses
import pathlib
import sys
from collections.abc import Sequence
from typing import Annotated, Literal

import tyro

from imp_data import inspect as inspect_lib
from imp_data import own_tokenizer, view_names
from imp_data import verify as verify_lib
from imp_data.datasets import Dataset
from imp_data.flags import check_given_once
from imp_data.media.limits import DEFAULT_LIMITS, Limits
from imp_data.stores.atomic import write_file
from imp_data.tokenizer import Tokenizer
from imp_data.wording import count

_INTERRUPTED = 130


@dataclasses.dataclass(frozen=True, kw_only=True)
class Samples:
    """Write the sample corpora as ordinary files."""

    out: pathlib.Path
    """Folder that gets one subfolder a corpus."""
    corpora: tuple[str, ...] = ()
    """Some of icons, emoji, games, instruments, errands; all without it."""
    seed: int = 0
    processes: int = 2

    def run(self, beam_options: Sequence[str]) -> int:
        from imp_data import samples

        samples.write_samples(
            self.out,
            corpora=self.corpora or samples.ALL,
            seed=self.seed,
            processes=self.processes,
        )
        print(f"corpora at {self.out}")
        return 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Build:
    """Build a dataset from files. Beam's options go after "--"."""

    source: str
    """KIND:PLACE, such as folder:PATH of class folders; also glob, csv, tsv, jsonl, parquet,
    webdataset, coco, kinetics, audioset, whose FILE may be a pattern or a URL; and imagenet,
    cifar10, cifar100, ucf101, hmdb51, esc50, flickr30k, karpathy, msrvtt (docs/DATA_SOURCES.md)."""
    out: pathlib.Path
    """Folder of the dataset; a finished one of the same source and options is kept."""
    views: tuple[str, ...]
    """Views to store, such as image-64, video-16x64-8fps, audio-32."""
    format: Literal["tensorstore", "tfrecord", "both"] = "tensorstore"
    """tensorstore for training, tfrecord for exchange."""
    name: str | None = None
    """The dataset's name; its folder's without it."""
    caption_from: Literal["stem"] | None = None
    """stem: caption files that have no caption by their name."""
    root: str | None = None
    """Folder of the files that a manifest names; the manifest's own without it."""
    split: str | None = None
    """Split of the examples that name none; without it, what the file's name says, or train."""
    columns: tuple[str, ...] = ()
    """Columns of a table that have other names: caption=title path=image_file."""
    seed: int = 0
    """Seed of the shuffle."""
    max_reject_share: float = 0.05
    """Fail when more than this share of the inputs can't be used."""
    shard_examples: int | None = None
    """Examples a shard; about 16 shards a split without it."""
    threads: int | None = None
    """Threads that decode within a shard; one a core without it."""
    against: tuple[str, ...] = ()
    """Evaluation sets, sources or datasets: training examples like theirs are left out."""
    dedup: bool = False
    """Also leave out training examples that are like another of the set."""
    compare: tuple[Literal["image", "video", "audio", "text"], ...] = ()
    """By what near duplicates are told; by what the views show without it."""
    similarity: tuple[str, ...] = ()
    """From where on two are alike, 0.5 to 1: image=0.9; image and video 0.95, audio 0.93, text 0.8
    without it."""
    limits: Limits = DEFAULT_LIMITS
    extend: bool = False
    """Add what the source has gained since `out` was built; what is there stays as it is."""
    retry_rejects: bool = False
    """Try again what was rejected: the files may have been mended, the limits raised."""
    overwrite: bool = False
    """Replace what another source or other options built at `out`."""

    def run(self, beam_options: Sequence[str]) -> int:
        try:
            from imp_data.pipelines import build
        except ModuleNotFoundError as error:
            if error.name is None or not error.name.startswith("apache_beam"):
                raise
            raise ValueError("building needs Beam: pip install 'imp-data[beam]'") from error

        formats = ("tensorstore", "tfrecord") if self.format == "both" else (self.format,)
        dataset = build.build_dataset(
            source=self.source,
            out=self.out,
            views=[view_names.parse(view) for view in self.views],
            name=self.name,
            formats=formats,
            caption_from=self.caption_from,
            root=self.root,
            split=self.split,
            columns=_columns(self.columns),
            limits=self.limits,
            seed=self.seed,
            shard_examples=self.shard_examples,
            max_reject_share=self.max_reject_share,
            against=self.against,
            dedup=self.dedup,
            compare=self.compare,
            similarity=_similarity(self.similarity),
            extend=self.extend,
            retry_rejects=self.retry_rejects,
            overwrite=self.overwrite,
            num_threads=self.threads,
            pipeline_options=beam_options,
        )
        counts = ", ".join(f"{number} {split}" for split, number in dataset.num_examples.items())
        rejects = sum(dataset.manifest.rejects.values())
        rejected = count(rejects, "reject", "rejects")
        # What a table's columns were not understood to hold is missed here first.
        carried = " + ".join(dataset.modalities)
        labels = count(len(dataset.label_names), "label", "labels")
        print(
            f"{dataset.name}: {counts} examples of {carried}, {labels}, {rejected} "
            f"at {dataset.path}"
        )
        if dataset.manifest.HasField("near_duplicates"):
            screened = dataset.manifest.near_duplicates
            dropped = count(sum(screened.dropped.values()), "near duplicate", "near duplicates")
            report = dataset.path / "near_duplicates" / "report.html"
            print(f"{dropped} dropped, shown in {report}")
            if screened.label_conflicts:
                print(inspect_lib.label_conflicts(dataset))
        return 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainTokenizer:
    """Train a SentencePiece tokenizer on datasets' captions and label names; each keeps a copy."""

    data: tuple[pathlib.Path, ...]
    """Datasets; their train splits are read."""
    out: pathlib.Path | None = None
    """Also write the model to this file."""
    model: pathlib.Path | None = None
    """Give the datasets this model, such as T5's spiece.model; nothing is trained."""
    vocab_size: int = 2048
    seed: int = 0

    def run(self, beam_options: Sequence[str]) -> int:
        datasets = [Dataset.load(path) for path in self.data]
        if self.model is not None:
            tokenizer = Tokenizer.load(self.model)
        else:
            tokenizer = Tokenizer.train(corpus(datasets), None, self.vocab_size, self.seed)
        if self.out is not None:
            write_file(self.out, tokenizer.model)
        for dataset in datasets:
            own_tokenizer.give(dataset.path, tokenizer)
        where = ", ".join(str(path / own_tokenizer.FILE) for path in self.data)
        print(f"{tokenizer.vocab_size} pieces at {where}")
        return 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Inspect:
    """Print what a dataset holds."""

    path: Annotated[pathlib.Path, tyro.conf.Positional]
    """The dataset's folder."""
    sheet: pathlib.Path | None = None
    """Also write a contact sheet, a PNG, here."""
    split: str | None = None
    """Split to show; the first without it."""

    def run(self, beam_options: Sequence[str]) -> int:
        dataset = Dataset.load(self.path)
        print(inspect_lib.describe(dataset))
        if self.sheet is not None:
            inspect_lib.contact_sheet(dataset, self.sheet, split=self.split)
            print(f"sheet    {self.sheet}")
        return 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Verify:
    """Check every file of a dataset; exit status 1 names what is missing, changed or extra."""

    path: Annotated[pathlib.Path, tyro.conf.Positional]
    """The dataset's folder."""

    def run(self, beam_options: Sequence[str]) -> int:
        problems = verify_lib.verify(self.path)
        print("\n".join(problems) if problems else f"{self.path} is sound")
        return 1 if problems else 0


Command = (
    Annotated[Samples, tyro.conf.subcommand("samples")]
    | Annotated[Build, tyro.conf.subcommand("build")]
    | Annotated[TrainTokenizer, tyro.conf.subcommand("tokenizer")]
    | Annotated[Inspect, tyro.conf.subcommand("inspect")]
    | Annotated[Verify, tyro.conf.subcommand("verify")]
)


def _columns(pairs: Sequence[str]) -> dict[str, str]:
    """ROLE=COLUMN each. Raises ValueError."""
    if wrong := [pair for pair in pairs if "=" not in pair]:
        raise ValueError(f"--columns {wrong[0]!r} must be ROLE=COLUMN, such as caption=title")
    return {role: column for role, _, column in (pair.partition("=") for pair in pairs)}


def _similarity(pairs: Sequence[str]) -> dict[str, float]:
    """KIND=NUMBER each. Raises ValueError; which kinds there are, the build says."""
    thresholds: dict[str, float] = {}
    for pair in pairs:
        kind, _, number = pair.partition("=")
        try:
            thresholds[kind] = float(number)
        except ValueError as error:
            raise ValueError(
                f"--similarity {pair!r} must be KIND=NUMBER, such as image=0.9"
            ) from error
    return thresholds


def corpus(datasets: Sequence[Dataset]) -> list[str]:
    """The texts that a tokenizer should know: distinct captions and label names, sorted."""
    texts: set[str] = set()
    for dataset in datasets:
        texts.update(dataset.label_names)
        if "train" in dataset.num_examples:
            texts.update(t for example in dataset.examples("train") for t in example.texts)
    return sorted(texts)


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit status: 2, and one line on stderr, for what the caller can put right."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    beam_options: list[str] = []
    if "--" in arguments:
        place = arguments.index("--")
        arguments, beam_options = arguments[:place], arguments[place + 1 :]
    command = tyro.cli(Command, prog="imp-data", args=arguments)  # type: ignore[arg-type]
    try:
        check_given_once(arguments)
        if beam_options and not isinstance(command, Build):
            raise ValueError('options after "--" are for build alone')
        return command.run(beam_options)
    except (ValueError, OSError, ModuleNotFoundError) as error:
        print(f"imp-data: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("imp-data: stopped; run it again to go on", file=sys.stderr)
        return _INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
