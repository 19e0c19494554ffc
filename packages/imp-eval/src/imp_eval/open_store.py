"""Where collections are kept, by one option: in memory, a folder, an object store, a cluster."""

import pathlib
import re

from imp_eval import lance_store
from imp_eval.lance_upkeep import UpkeepConfig
from imp_eval.vector_store import VectorStore

# LanceDB's errors from object stores run over many lines of Rust: what in them says why.
_TELLING = (
    (r"<Message>([^<]+)</Message>", r"\1"),
    (r"BadScheme", "plain HTTP needs AWS_ALLOW_HTTP=true in the environment"),
    (r"Failed to get AWS credentials", "no AWS credentials; set AWS_ACCESS_KEY_ID and its secret"),
    (r'message: "([^"]+)"', r"\1"),
)


async def open_store(
    place: pathlib.Path | str | None, upkeep: UpkeepConfig | None = None
) -> VectorStore:
    """`place`: a folder; a URI that LanceDB takes, such as s3://bucket/path; qdrant+http://HOST:PORT
    or qdrant+https://HOST:PORT for a Qdrant server or cluster; None for memory.

    Raises ValueError, in one line, for one that can't be used.
    """
    uri = None if place is None else str(place)
    if uri is not None and pathlib.Path(uri).is_file():
        raise ValueError(f"collections can't be kept in {uri}: it is a file; name a folder")
    try:
        if uri is not None and uri.startswith("qdrant+"):
            # Here and not above: an extra of the package.
            from imp_eval import qdrant_store

            return await qdrant_store.connect(uri.removeprefix("qdrant+"))
        return await lance_store.connect(uri, upkeep or UpkeepConfig())
    except (RuntimeError, ValueError, OSError, ModuleNotFoundError) as error:
        raise ValueError(f"collections can't be kept in {uri}: {_reason(str(error))}") from error


def _reason(text: str) -> str:
    for pattern, said in _TELLING:
        if found := re.search(pattern, text):
            return found.expand(said)
    return " ".join(text.split())[:300]
