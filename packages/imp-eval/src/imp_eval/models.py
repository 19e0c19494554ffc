"""Models: the bundles that one server offers by name, each replaced while it serves where need be.

A call leases the engine that its metadata names and keeps it to its end, whatever comes meanwhile.
A new bundle is loaded and compiled beside the old one, takes its place at once, and the old one is
closed when its last call has ended.
"""

import asyncio
import contextlib
import contextvars
import dataclasses
import logging
import pathlib
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping

from imp_eval.engine import Engine
from imp_eval.metrics import Metrics
from imp_model import bundle as bundles

logger = logging.getLogger(__name__)


class UnknownModelError(LookupError):
    """No model of that name."""


@dataclasses.dataclass(eq=False)
class _Leased:
    """An engine, how many calls use it, and whether it has been replaced."""

    engine: Engine
    calls: int = 0
    retired: bool = False


_current: contextvars.ContextVar[Engine] = contextvars.ContextVar("engine")


def current_engine() -> Engine:
    """The engine that this task's call leased."""
    return _current.get()


class Models:
    """Made, used and closed within one event loop."""

    def __init__(
        self,
        paths: Mapping[str, pathlib.Path],
        build: Callable[[pathlib.Path], Awaitable[Engine]],
        metrics: Metrics,
    ) -> None:
        """`build` loads and compiles the bundle at a path."""
        assert paths, "a server without a model"
        self._paths = dict(paths)
        self._build = build
        self._metrics = metrics
        self._leased: dict[str, _Leased] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._reloading = asyncio.Lock()

    async def load(self) -> None:
        """Loads every model. Raises FileNotFoundError and ValueError for one that can't be."""
        for name, path in self._paths.items():
            self._leased[name] = _Leased(await self._build(path))

    @property
    def engines(self) -> dict[str, Engine]:
        """By name; the first is the default."""
        return {name: leased.engine for name, leased in self._leased.items()}

    @contextlib.contextmanager
    def lease(self, name: str | None) -> Iterator[Engine]:
        """The engine of a call, for all of it. Raises UnknownModelError."""
        if name is None:
            name = next(iter(self._leased))
        if name not in self._leased:
            raise UnknownModelError(
                f"no model {name[:80]!r} here; there are {', '.join(self._leased)}"
            )
        leased = self._leased[name]
        leased.calls += 1
        _current.set(leased.engine)
        try:
            yield leased.engine
        finally:
            leased.calls -= 1
            if leased.retired and not leased.calls:
                self._close(leased.engine)

    async def reload(self) -> None:
        """Replaces every model whose bundle has changed; one that can't be loaded is logged, and
        the old one serves on."""
        async with self._reloading:
            for name, path in self._paths.items():
                await self._reload(name, path)

    async def watch(self, seconds: float) -> None:
        """Reloads for ever, so often."""
        while True:
            await asyncio.sleep(seconds)
            await self.reload()

    async def close(self) -> None:
        """Every engine answers what it has, then stops."""
        for leased in self._leased.values():
            self._close(leased.engine)
        await asyncio.gather(*self._closing)

    async def _reload(self, name: str, path: pathlib.Path) -> None:
        old, began = self._leased[name], time.monotonic()
        try:
            if await asyncio.to_thread(bundles.digest_of, path) == old.engine.encoder.digest:
                return
            new = await self._build(path)
        # Whatever it was (memory for two models, say), the next one is to be tried.
        except Exception as error:
            text = "model %s is not reloaded, the old one serves on: %s"
            logger.error(text, name, error, exc_info=not isinstance(error, OSError | ValueError))
            self._metrics.reload("failed")
            return
        self._leased[name] = _Leased(new)
        old.retired = True
        if not old.calls:
            self._close(old.engine)
        digests = (old.engine.encoder.digest, new.encoder.digest)
        logger.info("model %s: %s -> %s in %.1f s", name, *digests, time.monotonic() - began)
        self._metrics.reload("good")

    def _close(self, engine: Engine) -> None:
        task = asyncio.create_task(engine.close())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


def named_paths(values: "tuple[str, ...]") -> dict[str, pathlib.Path]:
    """`DIR` or `NAME=DIR` each -> by name. A lone DIR is named `default`, others by their folder.

    Raises ValueError for a name that occurs twice.
    """
    found: dict[str, pathlib.Path] = {}
    for value in values:
        name, equals, path = value.partition("=")
        if not equals or "/" in name:
            name, path = ("default" if len(values) == 1 else pathlib.Path(value).name), value
        if name in found:
            raise ValueError(f"two bundles are named {name!r}; name them: --bundle NAME=DIR")
        found[name] = pathlib.Path(path)
    if not found:
        raise ValueError("no bundle to serve; give --bundle DIR")
    return found
