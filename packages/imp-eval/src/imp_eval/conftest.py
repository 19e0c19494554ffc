"""A tiny real bundle with random weights, a server on it, and small files to send."""

import asyncio
import contextlib
import io
import os
import pathlib
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping

import av
import numpy as np
import pytest
import soundfile
from PIL import Image

from imp_data.tokenizer import Tokenizer
from imp_data.views import AudioView, ImageView, TextView, VideoView, View, to_json
from imp_eval.client import Client, Input, ServiceError, text
from imp_eval.client import media as media_input
from imp_eval.inference import Encoder, use_compilation_cache
from imp_eval.server import Ready, serve
from imp_eval.server_config import ServerConfig
from imp_model import bundle
from imp_model.config import ModelConfig
from imp_model.model import Model

# Beside the view's own: a short text goes another way than a long one.
TEXT_LENGTHS = (4,)
COLOURS = ("red", "green", "blue")
PAIRS = (("image", "text"), ("video", "text"), ("audio", "video"))
VIEWS: dict[str, View] = {
    "image": ImageView(size=32),
    "video": VideoView(frames=4, size=32, fps=8.0),
    "audio": AudioView(frames=16, num_mels=32),
    "text": TextView(length=12),
}
CONFIG = ModelConfig(
    width=32,
    mlp=64,
    num_heads=2,
    num_dense_layers=1,
    num_moe_layers=1,
    num_experts=4,
    patch=(2, 8, 8),
    vocab_size=300,
    text_positions=12,
    dtype="float32",
)


def save_bundle(path: pathlib.Path, seed: int) -> pathlib.Path:
    words = [f"word {i} of a {c} thing" for i in range(20) for c in ["red", "blue", "green"]]
    tokenizer = Tokenizer.train(words, path.parent / f"{path.name}.model", 300)
    bundle.save(
        path,
        Model.create(CONFIG, pairs=PAIRS, classifiers={"colours": len(COLOURS)}, seed=seed),
        pairs=PAIRS,
        classifiers={"colours": COLOURS},
        views={name: to_json(view) for name, view in VIEWS.items()},
        tokenizer=tokenizer.model,
        metadata={"experiment": "tiny", "step": 3},
    )
    return path


@pytest.fixture(scope="session")
def bundle_path(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    return save_bundle(tmp_path_factory.mktemp("bundle") / "tiny", seed=0)


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """Everything is compiled once a test run."""
    path = tmp_path_factory.mktemp("compiled")
    use_compilation_cache(path)
    return path


@pytest.fixture(scope="session")
def encoder(bundle_path: pathlib.Path, cache: pathlib.Path) -> Encoder:
    made = Encoder(bundle.load(bundle_path), batch_size=8, text_lengths=TEXT_LENGTHS)
    made.compile()
    return made


class Running(str):
    """A server's address, and what a test may do to it."""

    where: Ready
    reload: Callable[[], None]


@contextlib.contextmanager
def running(
    bundle_path: pathlib.Path | dict[str, pathlib.Path], config: ServerConfig
) -> Iterator[Running]:
    """A server in a thread of this process; gives its address."""
    ready: queue.Queue[tuple[Running, asyncio.AbstractEventLoop, asyncio.Event]] = queue.Queue()

    async def run() -> None:
        stop, reload, loop = asyncio.Event(), asyncio.Event(), asyncio.get_running_loop()

        def tell(where: Ready) -> None:
            address = Running(f"{where.host}:{where.port}")
            address.where = where
            address.reload = lambda: loop.call_soon_threadsafe(reload.set)
            ready.put((address, loop, stop))

        await serve(bundle_path, config, stop=stop, reload=reload, ready=tell)

    thread = threading.Thread(target=lambda: asyncio.run(run()))
    thread.start()
    address, loop, stop = ready.get(timeout=120)
    try:
        yield address
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(timeout=30)
        assert not thread.is_alive()


@contextlib.contextmanager
def served(
    bundle: pathlib.Path,
    cache: pathlib.Path,
    data: pathlib.Path | str,
    environment: Mapping[str, str] | None = None,
) -> Iterator[str]:
    """The address of a server in a process of its own, which is killed in the end."""
    command = [sys.executable, "-m", "imp_eval.cli", "serve", "--bundle", str(bundle)]
    command += ["--port", "0", "--batch-size", "8", "--compilation-cache", str(cache)]
    command += ["--data", str(data)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env=os.environ | (environment or {})
    ) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().split()[-1]
        finally:
            process.kill()


@pytest.fixture(scope="session")
def address(
    bundle_path: pathlib.Path, cache: pathlib.Path, request: pytest.FixtureRequest
) -> Running:
    """A server with collections in memory."""
    stack = contextlib.ExitStack()
    # Not by yield: pytest doesn't see that a type-checked generator is one.
    request.addfinalizer(stack.close)  # noqa: PT021
    config = ServerConfig(port=0, batch_size=8, text_lengths=TEXT_LENGTHS, compilation_cache=cache)
    return stack.enter_context(running(bundle_path, config))


def png(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (40, 48, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def wav(seed: int) -> bytes:
    samples = np.random.default_rng(seed).normal(0, 0.1, 16_000).astype(np.float32)
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, 16_000, format="WAV")
    return buffer.getvalue()


def mp4(seed: int, copies: int = 1) -> bytes:
    rng, buffer = np.random.default_rng(seed), io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("mpeg4", rate=8)
        stream.width = stream.height = 48
        for _ in range(6 * copies):
            pixels = np.kron(
                rng.integers(0, 256, (6, 6, 3), np.uint8), np.ones((8, 8, 1), np.uint8)
            )
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels)))
        container.mux(stream.encode())
    return buffer.getvalue()


MAKERS: dict[str, Callable[[int], bytes]] = {"image": png, "video": mp4, "audio": wav}


def inputs(modality: str, n: int) -> list[Input]:
    if modality == "text":
        return [text(f"word {i} of a green thing") for i in range(n)]
    return [media_input(modality, MAKERS[modality](i)) for i in range(n)]


def refused(code: str, message: str):
    return pytest.raises(ServiceError, match=rf"{message}", check=lambda e: e.code == code)


@pytest.fixture
def client(address, request):
    made = Client(address)
    request.addfinalizer(made.close)  # noqa: PT021
    return made
