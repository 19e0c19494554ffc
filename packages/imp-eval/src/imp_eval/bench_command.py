"""`imp-eval bench`: load on a running server, and what its callers meet."""

import asyncio
import os
import pathlib

import tyro

from imp_eval import load
from imp_eval.async_client import AsyncClient
from imp_eval.calls import DEFAULT_ADDRESS, Options
from imp_eval.inputs import Input, read_file
from imp_eval.inputs import text as text_input


def bench(
    files: tyro.conf.Positional[tuple[pathlib.Path, ...]] = (),
    text: tuple[str, ...] = (),
    target: str = "",
    modality: str | None = None,
    callers: int = 32,
    items: int = 1,
    rate: float | None = None,
    stream: bool = False,
    seconds: float = 10.0,
    address: str = DEFAULT_ADDRESS,
) -> int:
    """Put load on a server: items a second, and how long calls take.

    Args:
        files: what to embed, over and over: images, videos, sounds, .txt files.
        text: texts, beside the files or instead of them.
        target: the modality to compare with.
        modality: of the files, where the suffix doesn't say.
        callers: how many call at a time, each again as soon as it is answered.
        items: inputs in a call.
        rate: calls a second instead, coming whether or not those before are answered.
        stream: the callers send streams instead of calls.
        seconds: for how long.
        address: of the server.
    """
    if callers < 1 or items < 1 or seconds <= 0 or (rate is not None and rate <= 0):
        raise ValueError("--callers, --items, --seconds and --rate must be above 0")
    inputs: list[Input] = [text_input(value) for value in text]
    inputs += [read_file(path, modality) for path in files]
    if not inputs:
        raise ValueError("nothing to embed; give files or --text")

    async def run() -> load.Met:
        options = Options.from_environment(os.environ)
        async with AsyncClient(address, attempts=1, options=options) as client:
            if stream:
                return await load.stream_loop(
                    client, inputs, target, streams=callers, seconds=seconds
                )
            work = load.embedding(client, inputs, target, items)
            await work(0)
            if rate is not None:
                return await load.open_loop(work, rate=rate, seconds=seconds)
            return await load.closed_loop(work, callers=callers, seconds=seconds)

    met = asyncio.run(run())
    print(met)
    # Refusals are an answer; a server that is gone is none.
    if gone := len(met.refusals.get("UNAVAILABLE", ())):
        raise ConnectionError(f"the server at {address} went away: {gone} calls had no answer")
    return 0
