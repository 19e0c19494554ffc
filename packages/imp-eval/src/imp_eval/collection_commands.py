"""`imp-eval index | search | collections | delete | drop`: collections on the command line."""

import contextlib
import json
import os
import pathlib
import sys
from collections.abc import Iterator, Sequence
from typing import Annotated, TypeAlias

import tqdm
import tyro

from imp_eval import client as clients
from imp_eval import requests
from imp_eval.client import DEFAULT_ADDRESS, Client, Options, ServiceError
from imp_eval.filters import Value

# Also given one by one: --where a=1 --where b=2.
Conditions: TypeAlias = Annotated[tuple[tuple[str, ...], ...], tyro.conf.UseAppendAction]


def index(
    folder: tyro.conf.Positional[pathlib.Path],
    collection: str,
    modality: str | None = None,
    query_modality: str = "text",
    address: str = DEFAULT_ADDRESS,
) -> int:
    """Index a folder's files into a collection, which is made if it isn't there.

    The name of the folder that a file lies in is kept beside it: search --where folder=NAME.

    Args:
        folder: searched with its subfolders; a file's id is its path below this folder.
        collection: its name.
        modality: image, video, audio or text; needed where the folder holds several.
        query_modality: what the collection will be searched by.
        address: of the server.
    """
    if folder.is_file():
        raise ValueError(f"{folder} is a file; give the folder that it lies in")
    if not folder.is_dir():
        raise FileNotFoundError(f"no folder {folder}")
    files, kind = requests.files_of(folder, modality)
    stored = 0
    complaints: dict[str, list[str]] = {}
    with (
        connect(address) as client,
        _there(client, collection, kind, query_modality),
        tqdm.tqdm(total=len(files), unit="file", disable=None) as bar,
    ):
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


@contextlib.contextmanager
def _there(client: Client, collection: str, kind: str, query_modality: str) -> Iterator[None]:
    """The collection, made if it isn't there; one that is made and stays empty is dropped.

    Raises ValueError for one that holds something else.
    """
    held = {own.name: own.modality for own in client.collections()}
    if held.get(collection, kind) != kind:
        raise ValueError(
            f"collection {collection!r} holds {held[collection]}, not {kind}; "
            "choose another --collection"
        )
    if collection in held:
        yield
        return
    client.create_collection(collection, kind, query_modality)
    try:
        yield
    finally:
        # A server that has gone away is told of by what was asked of it before.
        with contextlib.suppress(ServiceError):
            if not _size(client, collection):
                client.drop_collection(collection)


def _size(client: Client, collection: str) -> int:
    """Items; 0 where there is no such collection."""
    return next((own.num_items for own in client.collections() if own.name == collection), 0)


def search(
    query: tyro.conf.Positional[tuple[str, ...]] = (),
    *,
    collection: str,
    file: pathlib.Path | None = None,
    modality: str | None = None,
    k: int = 10,
    where: Conditions = (),
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
    with connect(address) as client:
        found = client.search(collection, value, k, where=_where(where), exact=exact)
    for hit in found:
        fields = [f"{key}={_written(value)}" for key, value in sorted(hit.metadata.items())]
        print(f"{hit.score:.4f}", hit.id, *[" ".join(fields)] * bool(fields), sep="\t")
    if not found:
        matching = f" with {' '.join(sum(where, ()))}" if where else ""
        print(f"imp-eval: nothing in {collection}{matching}", file=sys.stderr)
    return 0


def collections(address: str = DEFAULT_ADDRESS) -> int:
    """List the collections: name, what they hold, and how they are searched.

    Args:
        address: of the server.
    """
    with connect(address) as client:
        listed = client.collections()
        for found in listed:
            how = "exact search"
            if found.HasField("index"):
                how = f"{found.index.kind}, recall@10 {found.index.recall_at_10:.3f}"
            print(
                found.name,
                f"{found.num_items} {found.modality} by {found.query_modality}",
                how,
                sep="\t",
            )
    if not listed:
        print("imp-eval: no collections yet; imp-eval index makes one", file=sys.stderr)
    return 0


def delete(
    ids: tyro.conf.Positional[tuple[str, ...]] = (),
    *,
    collection: str,
    where: Conditions = (),
    address: str = DEFAULT_ADDRESS,
) -> int:
    """Delete items of a collection, by id or by what their metadata say.

    Args:
        ids: of the items.
        collection: its name.
        where: FIELD=VALUE as for search; every item of which all of them hold goes.
        address: of the server.
    """
    if bool(ids) == bool(where):
        raise ValueError("give either ids or --where to delete by")
    chosen = _where(where)
    with connect(address) as client:
        if chosen is None:
            gone = client.delete(collection, ids)
        else:
            gone = client.delete_where(collection, chosen)
    print(f"{gone} deleted from {collection}")
    missing = len(set(ids)) - gone
    if ids and missing:
        print(f"imp-eval: {missing} of these ids are not in {collection}", file=sys.stderr)
        return 2
    return 0


def drop(collection: tyro.conf.Positional[str], address: str = DEFAULT_ADDRESS) -> int:
    """Drop a collection with all that it holds.

    Args:
        collection: its name.
        address: of the server.
    """
    with connect(address) as client:
        client.drop_collection(collection)
    print(f"{collection} dropped")
    return 0


def connect(address: str) -> Client:
    """As the environment says (IMP_TOKEN and its like)."""
    return Client(address, options=Options.from_environment(os.environ))


def _where(conditions: Sequence[Sequence[str]]) -> dict[str, Value] | None:
    """Raises ValueError for one that is no FIELD=VALUE, and for a field named twice."""
    fields: dict[str, Value] = {}
    for condition in (one for several in conditions for one in several):
        name, equals, text = condition.partition("=")
        if not name or not equals:
            raise ValueError(f"--where {condition!r} must be FIELD=VALUE")
        if name in fields:
            raise ValueError(f"--where {condition!r}: {name} stands there twice; give it one value")
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
