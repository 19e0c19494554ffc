"""The gallery: a web page that searches and classifies, for a look at what a model does.

It asks the very servicers that gRPC calls do. Files are shown from one folder that the operator
names; an item's file is its id below that folder, or below the folder there that is called as its
collection.
"""

import asyncio
import contextlib
import logging
import mimetypes
import pathlib
from collections.abc import AsyncIterator, Awaitable, Callable
from importlib import resources
from urllib.parse import quote

from aiohttp import web
from aiohttp.http_exceptions import BadHttpMessage

from imp_eval.batcher import OverloadedError
from imp_eval.models import Models
from imp_eval.retrieval_service import RetrievalServicer, StaleCollectionError
from imp_eval.service import ClassificationServicer
from imp_eval.vector_store import NotFoundError
from imp_proto.v1 import embedding_pb2, retrieval_pb2

logger = logging.getLogger(__name__)

_PAGE = 24
_SHOWN = ("image", "video", "audio")
# The page needs nothing from elsewhere, and nobody may frame it.
_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data: blob:; "
    "media-src 'self' blob:; style-src 'self' 'unsafe-inline'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
_STATUS: tuple[tuple[type[Exception], int], ...] = (
    (NotFoundError, 404),
    (StaleCollectionError, 409),
    (OverloadedError, 503),
    (TimeoutError, 504),
    (ValueError, 400),
    (OSError, 500),
)


class _Call:
    """What servicers ask of a gRPC call's context."""

    def time_remaining(self) -> float:
        return 30.0


class Gallery:
    """Its routes are on `app`."""

    def __init__(
        self,
        models: Models,
        retrieval: RetrievalServicer,
        classification: ClassificationServicer,
        *,
        files: pathlib.Path | None,
        max_bytes: int,
    ) -> None:
        self._models = models
        self._retrieval = retrieval
        self._classification = classification
        self._files = None if files is None else files.resolve(strict=True)
        self.app = web.Application(middlewares=[_guard, self._leased], client_max_size=max_bytes)
        self.app.add_routes(
            [
                web.get("/", _asset("index.html", "text/html")),
                web.get("/gallery.css", _asset("gallery.css", "text/css")),
                web.get("/gallery.js", _asset("gallery.js", "text/javascript")),
                web.get("/api/collections", self._collections),
                web.post("/api/search", self._search),
                web.post("/api/classify", self._classify),
                web.get("/files/{collection}/{id:.+}", self._file),
            ]
        )

    @web.middleware
    async def _leased(
        self,
        request: web.Request,
        handler: Callable[[web.Request], Awaitable[web.StreamResponse]],
    ) -> web.StreamResponse:
        """With the server's first model, as it is when the request comes."""
        with self._models.lease(None):
            return await handler(request)

    async def _collections(self, request: web.Request) -> web.Response:
        listing = retrieval_pb2.ListCollectionsRequest(page_size=1000)
        response = await self._retrieval.ListCollections(listing, _Call())
        return web.json_response(
            {
                "collections": [
                    {"name": c.name, "modality": c.modality, "num_items": c.num_items}
                    for c in response.collections
                ]
            }
        )

    async def _search(self, request: web.Request) -> web.Response:
        name = request.query.get("collection", "")
        found = await self._retrieval.Search(
            retrieval_pb2.SearchRequest(
                collection=name,
                input=await _input(request),
                k=_PAGE,
                page_token=request.query.get("token", ""),
            ),
            _Call(),
        )
        collection = await self._retrieval.describe(name)
        urls = await asyncio.to_thread(self._urls, name, [hit.id for hit in found.hits])
        hits = [
            {
                "id": hit.id,
                "score": hit.score,
                "modality": collection.modality,
                "metadata": {k: getattr(v, v.WhichOneof("kind")) for k, v in hit.metadata.items()},
                "url": urls[hit.id],
            }
            for hit in found.hits
        ]
        return web.json_response(
            {"hits": hits, "next": found.next_page_token, "num_items": collection.num_items}
        )

    async def _classify(self, request: web.Request) -> web.Response:
        names = request.query.getall("class", [])
        response = await self._classification.Classify(
            embedding_pb2.ClassifyRequest(
                inputs=[await _input(request)], class_names=names, top_k=min(10, len(names))
            ),
            _Call(),
        )
        [result] = response.results
        if result.HasField("error"):
            raise ValueError(result.error.message)
        return web.json_response(
            {
                "classes": [
                    {"name": c.class_name, "probability": c.probability}
                    for c in result.classes.classes
                ]
            }
        )

    async def _file(self, request: web.Request) -> web.StreamResponse:
        collection, key = request.match_info["collection"], request.match_info["id"]
        path = await asyncio.to_thread(self._path, collection, key)
        if path is None:
            raise web.HTTPNotFound(text="no such file")
        return web.FileResponse(path, headers={"Cache-Control": "private, max-age=60"})

    def _urls(self, collection: str, ids: list[str]) -> dict[str, str | None]:
        return {
            key: f"/files/{quote(collection, safe='')}/{quote(key)}"
            if self._path(collection, key)
            else None
            for key in ids
        }

    def _path(self, collection: str, key: str) -> pathlib.Path | None:
        """The item's file, if it is a medium and lies in the folder, links followed."""
        kind = mimetypes.guess_type(key)[0] or ""
        if self._files is None or "\0" in key or kind.partition("/")[0] not in _SHOWN:
            return None
        if kind == "image/svg+xml":  # could hold scripts
            return None
        for base in (self._files / collection, self._files):
            path = (base / key).resolve()
            if path.is_relative_to(self._files) and path.is_file():
                return path
        return None


@contextlib.asynccontextmanager
async def serving(gallery: Gallery, host: str, port: int) -> AsyncIterator[str]:
    """Serves on this event loop; gives its address. Raises OSError for a port that is taken."""
    logging.getLogger("aiohttp.server").addFilter(_is_of_a_page)
    runner = web.AppRunner(gallery.app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        address = f"http://{host}:{runner.addresses[0][1]}/"
        logger.info("gallery on %s", address)
        yield address
    finally:
        await runner.cleanup()


def _is_of_a_page(record: logging.LogRecord) -> bool:
    """Not of what spoke no HTTP: aiohttp would log a traceback for each."""
    return not (record.exc_info and isinstance(record.exc_info[1], BadHttpMessage))


@web.middleware
async def _guard(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    try:
        response = await handler(request)
    except web.HTTPException as error:
        response = _refusal(error.status, error.text or error.reason)
    except tuple(kind for kind, _ in _STATUS) as error:
        status = next(status for kind, status in _STATUS if isinstance(error, kind))
        if status == 500:
            logger.error("%s failed", request.path, exc_info=error)
        response = _refusal(status, str(error))
    response.headers.update(_HEADERS)
    return response


def _refusal(status: int, message: str) -> web.Response:
    return web.json_response({"error": message}, status=status)


async def _input(request: web.Request) -> embedding_pb2.Input:
    modality = request.query.get("modality", "")
    body = await request.read()
    if modality == "text":
        try:
            return embedding_pb2.Input(text=body.decode())
        except UnicodeDecodeError as error:
            raise ValueError(f"the text is not UTF-8 ({error.reason})") from error
    if modality not in _SHOWN:
        raise ValueError(f"modality {modality[:40]!r} is unknown; one of {', '.join(_SHOWN)}")
    value = embedding_pb2.Input()
    setattr(value, modality, body)
    return value


def _asset(name: str, kind: str) -> Callable[[web.Request], Awaitable[web.Response]]:
    text = resources.files("imp_eval").joinpath("gallery", name).read_text("utf-8")

    async def answer(request: web.Request) -> web.Response:
        return web.Response(text=text, content_type=kind)

    return answer
