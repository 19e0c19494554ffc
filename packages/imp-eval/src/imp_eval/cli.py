"""imp-eval: serve a bundle, and embed, classify, index and search with a running server."""

import asyncio
import io
import json
import logging
import pathlib
import signal
import sys
from collections.abc import Sequence

import numpy as np
import tqdm
import tyro

from imp_data.stores.atomic import write_file
from imp_eval import client as clients
from imp_eval import requests
from imp_eval.client import DEFAULT_ADDRESS, Client, Input, ItemFailure, ServiceError

Files = tyro.conf.Positional[tuple[pathlib.Path, ...]]


def serve(
    bundle: pathlib.Path,
    host: str = "127.0.0.1",
    port: int = 50051,
    port_file: pathlib.Path | None = None,
    data: pathlib.Path | None = None,
    batch_size: int = 32,
    max_delay_ms: float = 2.0,
    max_pending: int = 1024,
    compilation_cache: pathlib.Path | None = None,
    drain_seconds: float = 10.0,
) -> int:
    """Serve a bundle until SIGTERM or SIGINT.

    Args:
        bundle: the folder that training exported.
        host: address to listen on; 0.0.0.0 opens the service to the network.
        port: 0 takes a free one.
        port_file: gets the port, once the server is ready.
        data: folder that keeps the collections; without it they are gone when the server stops.
        batch_size: inputs in one run of the encoder.
        max_delay_ms: how long an input may wait for others to fill its batch.
        max_pending: inputs accepted and not yet answered; beyond them callers are told to wait.
        compilation_cache: folder that keeps compiled functions, for a quicker start next time.
        drain_seconds: what running calls get to finish when the server is stopped.
    """
    # Here and not above: the other commands need no jax and start in a fraction of the time.
    from imp_eval import server

    config = server.ServerConfig(
        host=host,
        port=port,
        port_file=port_file,
        data=data,
        batch_size=batch_size,
        max_delay_ms=max_delay_ms,
        max_pending=max_pending,
        compilation_cache=compilation_cache,
        drain_seconds=drain_seconds,
    )

    async def run() -> None:
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        await server.serve(
            bundle,
            config,
            stop=stop,
            ready=lambda at: print(f"ready on {at.host}:{at.port}", flush=True),
        )

    asyncio.run(run())
    return 0


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
        files: images, videos, sounds, .txt files.
        text: texts, beside the files, which stand before them, or instead of them.
        target: the modality to compare with: image, video, audio or text.
        modality: of the files, where the suffix doesn't say; audio takes a video's sound.
        out: an .npz file to write.
        address: of the server.
    """
    _check_no_file("--text", text)
    if out is not None and not out.parent.is_dir():
        raise ValueError(f"{out.parent} is no folder to write {out.name} in")
    named: list[tuple[str, Input]] = [(t, clients.text(t)) for t in text]
    with Client(address) as client:
        good: list[tuple[str, np.ndarray]] = []
        failed = 0
        for batch in requests.batches(files, modality, named):
            results = client.embed([value for _, value in batch], target)
            for (name, _), result in zip(batch, results, strict=True):
                if isinstance(result, ItemFailure):
                    failed += _complain(name, result)
                    continue
                good.append((name, result))
                if out is None:
                    print(json.dumps({"id": name, "values": result.tolist()}))
    if out is not None and good:
        content = io.BytesIO()
        names, vectors = zip(*good, strict=True)
        np.savez(content, ids=np.array(names), vectors=np.stack(vectors))
        write_file(out, content.getvalue())
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
    failed = 0
    with Client(address) as client:
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
    with Client(address) as client, tqdm.tqdm(total=len(files), unit="file", disable=None) as bar:
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
    address: str = DEFAULT_ADDRESS,
) -> int:
    """Search a collection by words or by a file; prints score, id and metadata.

    Args:
        query: the words.
        collection: its name.
        file: search by this file instead.
        modality: of the file, where the suffix doesn't say; audio takes a video's sound.
        k: how many to print.
        address: of the server.
    """
    if bool(query) == (file is not None):
        raise ValueError("give either words or --file to search by")
    value = clients.read_file(file, modality) if file is not None else clients.text(" ".join(query))
    with Client(address) as client:
        for hit in client.search(collection, value, k):
            fields = [f"{key}={value}" for key, value in sorted(hit.metadata.items()) if value]
            print(f"{hit.score:.4f}", hit.id, *[" ".join(fields)] * bool(fields), sep="\t")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit status: 2 for what the user can put right, told in one line on stderr."""
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    logging.getLogger("jax").setLevel(logging.WARNING)
    try:
        return tyro.extras.subcommand_cli_from_dict(
            {
                "serve": serve,
                "embed": embed,
                "classify": classify,
                "index": index,
                "search": search,
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
