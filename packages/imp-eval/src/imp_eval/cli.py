"""imp-eval: serve a bundle; embed, classify, index, search with a server; evaluate a bundle."""

import io
import json
import pathlib
import sys
from collections.abc import Iterator, Sequence

import numpy as np
import tqdm
import tyro

from imp_data.flags import check_given_once
from imp_data.stores.atomic import write_file
from imp_eval import client as clients
from imp_eval import logs, requests
from imp_eval.bench_command import bench
from imp_eval.client import DEFAULT_ADDRESS, Input, ItemFailure, ServiceError
from imp_eval.collection_commands import collections, connect, delete, drop, index, search
from imp_eval.evaluation.command import evaluate, watch
from imp_eval.serve_command import serve, token

Files = tyro.conf.Positional[tuple[pathlib.Path, ...]]


def embed(
    files: Files = (),
    text: tuple[str, ...] = (),
    target: str = "",
    modality: str | None = None,
    out: pathlib.Path | None = None,
    address: str = DEFAULT_ADDRESS,
) -> int:
    """Embed files and texts; one JSON object a line, or arrays `ids` and `vectors` in an .npz file.

    Args:
        files: images, videos, sounds, .txt files, and folders of them.
        text: texts, beside the files, which stand before them, or instead of them.
        target: the modality to compare with: image, video, audio or text.
        modality: of the files, where the suffix doesn't say; audio takes a video's sound.
        out: an .npz file to write.
        address: of the server.
    """
    _check_no_file("--text", text)
    if out is not None and not out.parent.is_dir():
        raise ValueError(f"{out.parent} is no folder to write {out.name} in")
    names = [*text, *map(str, requests.expanded(files, modality))]
    if not names:
        raise ValueError("nothing to embed; give files or --text")

    def inputs() -> Iterator[Input]:
        yield from map(clients.text, text)
        for name in names[len(text) :]:
            yield clients.read_file(name, modality)

    good: list[tuple[str, np.ndarray]] = []
    failed = 0
    with connect(address) as client, tqdm.tqdm(total=len(names), unit="item", disable=None) as bar:
        for name, result in zip(names, client.embed_stream(inputs(), target), strict=True):
            bar.update()
            if isinstance(result, ItemFailure):
                failed += _complain(name, result)
                continue
            good.append((name, result))
            if out is None:
                print(json.dumps({"id": name, "values": result.tolist()}))
                good.clear()
    if out is not None and good:
        content = io.BytesIO()
        ids, vectors = zip(*good, strict=True)
        np.savez(content, ids=np.array(ids), vectors=np.stack(vectors))
        write_file(out, content.getvalue())
        print(f"{len(good)} vectors of {vectors[0].size} written to {out}")
    return 2 if failed else 0


def classify(
    files: Files = (),
    classes: tuple[str, ...] = (),
    classes_file: pathlib.Path | None = None,
    templates: tuple[str, ...] = (),
    top_k: int = 5,
    modality: str | None = None,
    address: str = DEFAULT_ADDRESS,
) -> int:
    """Classify files zero-shot against class names.

    Args:
        files: images, videos, sounds.
        classes: the class names, after the files.
        classes_file: a file of them, one a line.
        templates: prompts that hold {} where the class name goes; the server has its own otherwise.
        top_k: classes to print for each file.
        modality: of the files, where the suffix doesn't say; audio takes a video's sound.
        address: of the server.
    """
    _check_no_file("--classes", classes)
    _check_no_file("--templates", templates)
    if top_k < 1:
        raise ValueError(f"--top-k {top_k} must be at least 1")
    for path in files:
        if (modality or clients.modality_of(path)) == "text":
            raise ValueError(f"{path} is text; what is classified is images, videos and sounds")
    names = [*classes, *(_lines(classes_file) if classes_file is not None else ())]
    failed = 0
    with connect(address) as client:
        for batch in requests.batches(files, modality):
            results = client.classify(
                [value for _, value in batch], names, templates=templates, top_k=top_k
            )
            for (name, _), result in zip(batch, results, strict=True):
                if isinstance(result, ItemFailure):
                    failed += _complain(name, result)
                    continue
                print(name, *(f"{label} {100 * p:.1f}%" for label, p in result), sep="\t")
    return 2 if failed else 0


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit status: 2 for what the user can put right, told in one line on stderr."""
    logs.configure("text")
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        check_given_once(arguments, repeatable=["--where"])
        return tyro.extras.subcommand_cli_from_dict(
            {
                "serve": serve,
                "token": token,
                "embed": embed,
                "classify": classify,
                "index": index,
                "search": search,
                "evaluate": evaluate,
                "watch": watch,
                "collections": collections,
                "delete": delete,
                "drop": drop,
                "bench": bench,
            },
            prog="imp-eval",
            description=__doc__,
            args=arguments,
        )
    except (ValueError, OSError, ServiceError) as error:
        print(f"imp-eval: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def _lines(path: pathlib.Path) -> list[str]:
    """Those that say something. Raises ValueError for a file of none, or that is no UTF-8."""
    try:
        lines = [line.strip() for line in path.read_text("utf-8").splitlines()]
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no text in UTF-8 ({error.reason})") from error
    if not any(lines):
        raise ValueError(f"{path} holds no class names; write one a line")
    return [line for line in lines if line]


def _check_no_file(flag: str, values: Sequence[str]) -> None:
    """Raises ValueError where a flag of several values took a file that was to be read."""
    for value in values:
        if pathlib.Path(value).suffix and pathlib.Path(value).is_file():
            raise ValueError(f"{flag} took the file {value} too; put files before {flag}")


def _complain(name: str, failure: ItemFailure) -> int:
    print(f"imp-eval: {name}: {failure.message}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
