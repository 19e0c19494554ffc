"""The gallery over HTTP, on a real server, and in a real browser where there is one."""

import asyncio
import base64
import contextlib
import io
import json
import pathlib
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator
from typing import Any

import av
import numpy as np
import pytest

from imp_eval.client import Client, media
from imp_eval.conftest import png, running, wav
from imp_eval.server_config import ServerConfig

aiohttp = pytest.importorskip("aiohttp", reason="the extra imp-eval[gallery] is not installed")
yarl = pytest.importorskip("yarl", reason="comes with aiohttp")
CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
SUFFIXES = {"image": "png", "video": "webm", "audio": "wav"}


def webm(seed: int) -> bytes:
    """What every browser plays."""
    rng, buffer = np.random.default_rng(seed), io.BytesIO()
    with av.open(buffer, "w", format="webm") as container:
        stream = container.add_stream("libvpx", rate=8)
        stream.width = stream.height = 48
        for _ in range(8):
            pixels = np.kron(
                rng.integers(0, 256, (6, 6, 3), np.uint8), np.ones((8, 8, 1), np.uint8)
            )
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels)))
        container.mux(stream.encode())
    return buffer.getvalue()


MAKERS = {"image": png, "video": webm, "audio": wav}


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


@pytest.fixture(scope="module")
def page(bundle_path, cache, tmp_path_factory, request) -> str:
    """The gallery's address; collections `image`, `video`, `audio` and their files."""
    files = tmp_path_factory.mktemp("files")
    (files.parent / "secret.png").write_bytes(png(9))
    (files / "image" / "it's #1").mkdir(parents=True)
    (files / "image" / "link.png").symlink_to(files.parent / "secret.png")
    (files / "notes.txt").write_text("not shown")
    stack = contextlib.ExitStack()
    request.addfinalizer(stack.close)  # noqa: PT021
    config = ServerConfig(
        port=0,
        batch_size=8,
        compilation_cache=cache,
        gallery_port=free_port(),
        gallery_files=files,
    )
    client = Client(stack.enter_context(running(bundle_path, config)))
    stack.callback(client.close)
    for modality, query in [("image", "text"), ("video", "text"), ("audio", "video")]:
        client.create_collection(modality, modality, query)
        (files / modality).mkdir(exist_ok=True)
        items = {}
        for number in range(30 if modality == "image" else 2):
            folder = "it's #1/" if modality == "image" else ""
            key = f"{folder}{number}.{SUFFIXES[modality]}"
            (files / modality / key).write_bytes(MAKERS[modality](number))
            items[key] = media(modality, MAKERS[modality](number))
        assert (
            client.upsert(modality, items, {key: {"place": n} for n, key in enumerate(items)}) == {}
        )
    client.upsert("image", {"gone.png": np.ones(32, np.float32)})
    return f"http://127.0.0.1:{config.gallery_port}"


def fetched(url: str, body: bytes | None = None, **options: Any) -> tuple[int, Any, bytes]:
    async def fetch() -> tuple[int, Any, bytes]:
        async with aiohttp.ClientSession() as session:
            method = "GET" if body is None else "POST"
            # Paths go out as they stand here, dots too.
            target = yarl.URL(url, encoded=True)
            async with session.request(method, target, data=body, **options) as response:
                return response.status, response.headers, await response.read()

    return asyncio.run(fetch())


def test_search_pages_files_and_bars(page) -> None:
    status, headers, html = fetched(page + "/")
    assert status == 200
    assert b"IMP" in html
    assert "default-src 'self'" in headers["Content-Security-Policy"]
    listing = json.loads(fetched(page + "/api/collections")[2])["collections"]
    assert [(c["name"], c["num_items"]) for c in listing] == [
        ("audio", 2),
        ("image", 31),
        ("video", 2),
    ]

    found, token = [], ""
    while True:
        url = f"{page}/api/search?collection=image&modality=text&token={token}"
        answer = json.loads(fetched(url, b"a red thing")[2])
        found += answer["hits"]
        token = answer["next"]
        if not token:
            break
    assert len(found) == len({hit["id"] for hit in found}) == 31
    urls = {hit["id"]: hit["url"] for hit in found}
    assert urls.pop("gone.png") is None
    assert fetched(page + urls["it's #1/3.png"])[2] == png(3)
    [best] = json.loads(fetched(f"{page}/api/search?collection=image&modality=image", png(4))[2])[
        "hits"
    ][:1]
    assert (best["id"], best["metadata"]) == ("it's #1/4.png", {"place": 4.0})
    status, headers, part = fetched(f"{page}/files/video/0.webm", headers={"Range": "bytes=2-5"})
    assert (status, headers["Content-Type"], len(part)) == (206, "video/webm", 4)
    url = f"{page}/api/classify?modality=image&class=red&class=a%20blue%20%26%20thing"
    classes = json.loads(fetched(url, png(0))[2])["classes"]
    assert {c["name"] for c in classes} == {"red", "a blue & thing"}
    assert sum(c["probability"] for c in classes) == pytest.approx(1)


@pytest.mark.parametrize(
    "path",
    [
        "/files/image/link.png",
        "/files/image/..%2f..%2fsecret.png",
        "/files/..%2f/secret.png",
        "/files/../secret.png",
        "/files/image/%2e%2e/%2e%2e/secret.png",
        "/files/image/../../secret.png",
        "/files/image//etc/passwd.png",
        "/files/notes.txt/notes.txt",
        "/files/x/notes.txt",
        "/files/image/a%00.png",
        "/files/image/it's%20%231",
    ],
)
def test_nothing_outside_the_folder_is_given_away(page, path) -> None:
    status, _, body = fetched(page + path)
    assert status == 404
    assert json.loads(body)["error"]


@pytest.mark.parametrize(
    ("path", "body", "status", "message"),
    [
        ("/api/search?collection=none&modality=text", b"x", 404, "no collection 'none'"),
        ("/api/search?collection=..%2fx&modality=text", b"x", 404, "no collection '../x'"),
        ("/api/search?collection=image&modality=text", b"", 400, "the text is empty"),
        ("/api/search?collection=image&modality=text", b"\xff", 400, "not UTF-8"),
        ("/api/search?collection=image&modality=smell", b"x", 400, "'smell' is unknown"),
        ("/api/search?collection=image&modality=image", b"x", 400, "not a readable image"),
        ("/api/search?collection=image&modality=text&token=x", b"x", 400, "page_token"),
        ("/api/classify?modality=image", png(0), 400, "holds no class names"),
        ("/api/classify?modality=image&class=a", b"x", 400, "not a readable image"),
    ],
)
def test_what_is_wrong_is_told(page, path, body, status, message) -> None:
    got, _, answer = fetched(page + path, body)
    assert (got, message in json.loads(answer)["error"]) == (status, True)


class Browser:
    """A page in headless Chromium, over its debugging protocol."""

    def __init__(self, socket: Any) -> None:
        self._socket = socket
        self._number = 0
        self.complaints: list[str] = []

    async def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        await self._socket.send_json({"id": self._number, "method": method, "params": parameters})
        while True:
            message = await self._socket.receive_json(timeout=20)
            if message.get("method") in ("Runtime.exceptionThrown", "Log.entryAdded"):
                self.complaints.append(json.dumps(message["params"]))
            if message.get("id") == self._number:
                assert "error" not in message, message
                return message["result"]

    async def value(self, script: str) -> Any:
        """What the script gives, awaited."""
        answer = await self.call(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    async def until(self, script: str) -> None:
        async with asyncio.timeout(20):
            while not await self.value(script):
                await asyncio.sleep(0.02)

    async def type(self, text: str) -> None:
        for letter in text:
            key = {"\r": "Enter", "\t": "Tab"}.get(letter, letter)
            code = {"\r": 13, "\t": 9}.get(letter, 0)
            for kind in ("keyDown", "keyUp"):
                event = {"type": kind, "key": key, "windowsVirtualKeyCode": code}
                if kind == "keyDown" and letter != "\t":
                    event["text"] = letter
                await self.call("Input.dispatchKeyEvent", **event)


@contextlib.asynccontextmanager
async def browsing(url: str, profile: pathlib.Path) -> AsyncIterator[Browser]:
    assert CHROMIUM is not None
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"]
    command += ["--remote-debugging-port=0", f"--user-data-dir={profile}"]
    command += ["--disable-background-networking", "about:blank"]
    quiet = subprocess.DEVNULL
    with subprocess.Popen(command, stdout=quiet, stderr=quiet) as process:
        try:
            port_file = profile / "DevToolsActivePort"
            async with asyncio.timeout(30):
                while not (port_file.exists() and len(port_file.read_text().splitlines()) == 2):
                    await asyncio.sleep(0.05)
            port = port_file.read_text().splitlines()[0]
            async with aiohttp.ClientSession() as session:
                async with session.get(f"http://127.0.0.1:{port}/json/list") as response:
                    [target] = [t for t in await response.json() if t["type"] == "page"]
                address = target["webSocketDebuggerUrl"]
                async with session.ws_connect(address, max_msg_size=64 << 20) as opened:
                    browser = Browser(opened)
                    for domain in ("Page", "Runtime", "Log"):
                        await browser.call(f"{domain}.enable")
                    await browser.call("Page.navigate", url=url)
                    await browser.until(
                        "document.readyState === 'complete' && typeof state === 'object'"
                    )
                    yield browser
        finally:
            process.terminate()


@pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium on PATH")
def test_in_a_browser_by_keyboard_and_by_file(page, tmp_path) -> None:
    async def test() -> None:
        async with browsing(page, tmp_path / "profile") as browser:
            await browser.until("$('collection').options.length === 3")
            await browser.value("$('collection').value = 'image'")
            # The words have the focus at once, and Enter searches.
            await browser.type("a red thing\r")
            await browser.until("$('hits').childElementCount === 24")
            assert (
                await browser.value("$('status').textContent") == "24 best of 31, by “a red thing”"
            )
            await browser.value("$('more').click()")
            await browser.until("$('hits').childElementCount === 31")
            assert await browser.value("$('more').hidden")
            shown = "[...document.querySelectorAll('#hits img')]"
            assert await browser.value(f"{shown}.length") == 30
            await browser.value(f"{shown}.forEach(i => i.loading = 'eager')")
            await browser.until(f"{shown}.every(i => i.complete && i.naturalWidth === 48)")

            # "/" leads back to the words from a button.
            await browser.value("document.querySelector('.use').focus()")
            await browser.type("/")
            assert await browser.value("document.activeElement.id") == "words"

            for modality, ready in [
                ("video", "readyState >= 2 && !e.paused"),
                ("audio", "duration > 0"),
            ]:
                query = "words" if modality == "video" else "file"
                await browser.value(f"$('collection').value = '{modality}'")
                if query == "words":
                    await browser.type("\r")
                else:
                    await browser.value(by_file("audio", "audio/wav"))
                elements = f"[...document.querySelectorAll('#hits {modality}')]"
                await browser.until(f"{elements}.length === 2 && {elements}.every(e => e.{ready})")

            await browser.value("$('collection').value = 'image'")
            await browser.value(by_file("image", "image/png"))
            best = "document.querySelector('#hits .name')?.textContent"
            await browser.until(f"{best} === '0.png'")
            await browser.value("$('classes').focus()")
            await browser.type("red, green, blue\t\r")
            await browser.until("$('bars').childElementCount === 3")
            bars = await browser.value(
                "[...document.querySelectorAll('.bar')].map(b => b.style.width)"
            )
            assert sum(float(width.rstrip("%")) for width in bars) == pytest.approx(100, abs=0.1)

            await browser.value("byFile(new File(['x'], 'x.pdf', { type: 'application/pdf' }))")
            assert (
                await browser.value("$('status').textContent")
                == "x.pdf is no image, video or sound"
            )
            assert await browser.value("$('status').classList.contains('wrong')")
            assert browser.complaints == []

    asyncio.run(test())


def by_file(modality: str, kind: str) -> str:
    content = base64.b64encode(MAKERS[modality](0)).decode()
    bytes_of = f"Uint8Array.from(atob('{content}'), c => c.charCodeAt(0))"
    return f"byFile(new File([{bytes_of}], 'given', {{ type: '{kind}' }}))"
