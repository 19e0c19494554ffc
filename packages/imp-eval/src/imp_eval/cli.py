"""imp-eval: serve a bundle; embed, classify, index, search with a server; evaluate a bundle."""

import io
import json
import os
import pathlib
import sys
from collections.abc import Iterator, Sequence

import numpy as np
import tqdm
import tyro

from imp_data.stores.atomic import write_file
from imp_eval import client as clients
from imp_eval import logs, requests
from imp_eval.bench_command import bench
from imp_eval.client import DEFAULT_ADDRESS, Client, Input, ItemFailure, Options, ServiceError
from imp_eval.evaluation.command import evaluate, watch
from imp_eval.filters import Value
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
        raise ValueError("nothing to do; give files")

    def inputs() -> Iterator[Input]:
        yield from map(clients.text, text)
        for name in names[len(text) :]:
            yield clients.read_file(name, modality)

    good: list[tuple[str, np.ndarray]] = []
    failed = 0
    with _connect(address) as client, tqdm.tqdm(total=len(names), unit="item", disable=None) as bar:
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
    templates: tuple[str, ...] = (),
    top_k: int = 5,
    modality: str | None = None,
    address: str = DEFAULT_ADDRESS,
) -> int:
    """Classify files zero-shot against class names.

    Args:
        files: images, videos, sounds.
        classes: the class names, after the files.
        templates: prompts that hold {} where the class name goes; the server has its own otherwise.
        top_k: classes to print for each file.
        modality: of the files, where the suffix doesn't say; audio takes a video's sound.
        address: of the server.
    """
    _check_no_file("--classes", classes)
    _check_no_file("--templates", templates)
    if top_k < 1:
        raise ValueError(f"--top-k {top_k} must be at least 1")
    failed = 0
    with _connect(address) as client:
        for batch in requests.batches(files, modality):
            results = client.classify(
                [value for _, value in batch], classes, templates=templates, top_k=top_k
            )
            for (name, _), result in zip(batch, results, strict=True):
                if isinstance(result, ItemFailure):
                    failed += _complain(name, result)
                    continue
                print(name, *(f"{label} {100 * p:.1f}%" for label, p in result), sep="\t")
    return 2 if failed else 0


def index(
    folder: tyro.conf.Positional[pathlib.Path],
    collection: str,
    modality: str | None = None,
    query_modality: str = "text",
    address: str = DEFAULT_ADDRESS,
) -> int:
    """Index a folder's files into a collection, which is made if it isn't there.

    Args:
        folder: searched with its subfolders; a file's id is its path below this folder.
        collection: its name.
        modality: image, video, audio or text; needed where the folder holds several.
        query_modality: what the collection will be searched by.
        address: of the server.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"no folder {folder}")
    files, kind = requests.files_of(folder, modality)
    stored = 0
    complaints: dict[str, list[str]] = {}
    with _connect(address) as client, tqdm.tqdm(total=len(files), unit="file", disable=None) as bar:
        held = {c.name: c.modality for c in client.collections()}
        if collection not in held:
            client.create_collection(collection, kind, query_modality)
        elif held[collection] != kind:
            raise ValueError(
                f"collection {collection!r} holds {held[collection]}, not {kind}; "
                "choose another --collection"
            )
        for batch in requests.batches(files, kind):
            items = {pathlib.Path(name).relative_to(folder).as_posix(): v for name, v in batch}
            parents = {key: pathlib.PurePath(key).parent.name for key in items}
            metadata = {key: {"folder": name} for key, name in parents.items() if name}
            failures = client.upsert(collection, items, metadata)
            for key, failure in failures.items():
                complaints.setdefault(failure.message, []).append(str(folder / key))
            stored += len(items) - len(failures)
            bar.update(len(batch))
    for message, names in complaints.items():
        others = f" and {len(names) - 1} more" if len(names) > 1 else ""
        print(f"imp-eval: {names[0]}{others}: {message}", file=sys.stderr)
    print(f"{stored} of {len(files)} {kind} files indexed into {collection}")
    return 2 if complaints else 0


def search(
    query: tyro.conf.Positional[tuple[str, ...]] = (),
    *,
    collection: str,
    file: pathlib.Path | None = None,
    modality: str | None = None,
    k: int = 10,
    where: tuple[str, ...] = (),
    exact: bool = False,
    address: str = DEFAULT_ADDRESS,
) -> int:
    """Search a collection by words or by a file; prints score, id and metadata.

    Args:
        query: the words.
        collection: its name.
        file: search by this file instead.
        modality: of the file, where the suffix doesn't say; audio takes a video's sound.
        k: how many to print.
        where: FIELD=VALUE of the metadata, all of which must hold; 7 and true are a number and a
            flag, "7" in quotes is text.
        exact: compare with every item of a large collection too.
        address: of the server.
    """
    if bool(query) == (file is not None):
        raise ValueError("give either words or --file to search by")
    if k < 1:
        raise ValueError(f"--k {k} must be at least 1")
    value = clients.read_file(file, modality) if file is not None else clients.text(" ".join(query))
    with _connect(address) as client:
        found = client.search(collection, value, k, where=_where(where), exact=exact)
    for hit in found:
        fields = [f"{key}={_written(value)}" for key, value in sorted(hit.metadata.items())]
        print(f"{hit.score:.4f}", hit.id, *[" ".join(fields)] * bool(fields), sep="\t")
    if not found:
        matching = f" with {' '.join(where)}" if where else ""
        print(f"imp-eval: nothing in {collection}{matching}", file=sys.stderr)
    return 0


def collections(address: str = DEFAULT_ADDRESS) -> int:
    """List the collections: name, what they hold, and how they are searched.

    Args:
        address: of the server.
    """
    with _connect(address) as client:
        for found in client.collections():
            how = "exact search"
            if found.HasField("index"):
                how = f"{found.index.kind}, recall@10 {found.index.recall_at_10:.3f}"
            print(
                found.name,
                f"{found.num_items} {found.modality} by {found.query_modality}",
                how,
                sep="\t",
            )
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit status: 2 for what the user can put right, told in one line on stderr."""
    logs.configure("text")
    try:
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
                "bench": bench,
            },
            prog="imp-eval",
            description=__doc__,
            args=argv,
        )
    except (ValueError, OSError, ServiceError) as error:
        print(f"imp-eval: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def _where(conditions: Sequence[str]) -> dict[str, Value] | None:
    """Raises ValueError for one that is no FIELD=VALUE."""
    fields: dict[str, Value] = {}
    for condition in conditions:
        name, equals, text = condition.partition("=")
        if not name or not equals:
            raise ValueError(f"--where {condition!r} must be FIELD=VALUE")
        try:
            value = json.loads(text)
        except ValueError:
            value = text
        fields[name] = value if isinstance(value, bool | int | float | str) else text
    return fields or None


def _written(value: Value) -> str:
    """As --where takes it."""
    if isinstance(value, str):
        return value
    return json.dumps(int(value) if isinstance(value, float) and value.is_integer() else value)


def _connect(address: str) -> Client:
    return Client(address, options=Options.from_environment(os.environ))


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
