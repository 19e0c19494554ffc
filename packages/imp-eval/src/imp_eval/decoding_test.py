"""Decoding in processes: what they give, and what becomes of a file that ends or holds one up."""

import asyncio
import io
import os
import signal
import time

import av
import numpy as np
import pytest
from PIL import Image

from imp_data import media
from imp_data.media import MediaError
from imp_data.views import AudioView, ImageView, VideoView
from imp_eval.conftest import mp4, png, wav
from imp_eval.decoding import DecodeLimits, DecoderError, Decoders
from imp_eval.metrics import Metrics
from imp_eval.preprocess import SERVICE_LIMITS

IMAGE = ImageView(size=32)


def long_video(num_frames: int) -> bytes:
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("mpeg4", rate=50)
        stream.width = stream.height = 320
        frame = av.VideoFrame.from_ndarray(np.zeros((320, 320, 3), np.uint8))
        for _ in range(num_frames):
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return buffer.getvalue()


def run(body, num_workers=1, **limits) -> Metrics:
    metrics = Metrics()

    async def main() -> None:
        decoders = Decoders(num_workers, DecodeLimits(media=SERVICE_LIMITS, **limits), metrics)
        try:
            await decoders.ready()
            await body(decoders)
        finally:
            await decoders.close()
            assert decoders.pids == []

    asyncio.run(main())
    return metrics


def test_arrays_are_those_of_imp_data(tmp_path) -> None:
    files = [
        (png(0), IMAGE),
        (wav(0), AudioView(frames=16, num_mels=32)),
        (mp4(0), VideoView(frames=4, size=32, fps=8.0)),
        # Larger than what is copied at once.
        (png(1), ImageView(size=1024)),
    ]

    async def body(decoders) -> None:
        arrays = await asyncio.gather(*(decoders.decode(view, data) for data, view in files))
        for (data, view), array in zip(files, arrays, strict=True):
            np.testing.assert_array_equal(array, media.load(data, view))
        for bad in (b"", png(0)[:100], b"x" * 5_000_000):
            with pytest.raises(MediaError) as told:
                await decoders.decode(IMAGE, bad)
            with pytest.raises(MediaError) as direct:
                media.load(bad, IMAGE, limits=SERVICE_LIMITS)
            assert str(told.value) == str(direct.value)

    run(body, num_workers=2)


def test_a_decoder_that_is_killed_takes_its_file_alone() -> None:
    async def body(decoders) -> None:
        [first] = decoders.pids
        os.kill(first, signal.SIGSTOP)
        view = VideoView(frames=2, size=32, fps=8.0)
        lost = asyncio.create_task(decoders.decode(view, mp4(0)))
        others = [asyncio.create_task(decoders.decode(IMAGE, png(i))) for i in range(3)]
        await asyncio.sleep(0.05)
        os.kill(first, signal.SIGSEGV)
        os.kill(first, signal.SIGCONT)
        with pytest.raises(DecoderError, match="video decoder was ended by SIGSEGV on this file"):
            await lost
        for number, array in enumerate(await asyncio.gather(*others)):
            np.testing.assert_array_equal(array, media.load(png(number), IMAGE))
        assert first not in decoders.pids

    assert b'imp_decoders_replaced_total{reason="crash"} 1.0' in run(body).text()


def test_a_decoder_that_hangs_is_replaced_when_its_time_is_up() -> None:
    async def body(decoders) -> None:
        os.kill(decoders.pids[0], signal.SIGSTOP)
        began = time.monotonic()
        with pytest.raises(MediaError, match="takes over 2 s to decode"):
            await decoders.decode(IMAGE, png(0))
        assert time.monotonic() - began < 20
        assert (await decoders.decode(IMAGE, png(0))).shape == (32, 32, 3)

    assert b'imp_decoders_replaced_total{reason="time"} 1.0' in run(body, seconds=2.0).text()


def test_a_decoder_that_answers_nonsense_is_replaced(monkeypatch) -> None:
    cut = "import imp_eval.decode_worker as w; load = w.media.load; "
    cut += "w.media.load = lambda *a, **k: load(*a, **k)[:1]; w.main()"
    monkeypatch.setattr("imp_eval.decoding._CODE", cut)

    async def body(decoders) -> None:
        first = decoders.pids
        for _ in range(2):
            with pytest.raises(DecoderError, match="image decoder failed on this file"):
                await asyncio.wait_for(decoders.decode(IMAGE, png(0)), 60)
        assert decoders.pids != first

    assert b'imp_decoders_replaced_total{reason="crash"} 2.0' in run(body).text()


def test_memory_is_bounded() -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (7000, 7000)).save(buffer, "PNG")

    async def body(decoders) -> None:
        pids = decoders.pids
        with pytest.raises(MediaError, match="needs over 64 MiB to decode"):
            await decoders.decode(IMAGE, buffer.getvalue())
        assert (await decoders.decode(IMAGE, png(0))).shape == (32, 32, 3)
        assert decoders.pids == pids

    run(body, memory=64 << 20)


def test_no_work_is_spent_on_callers_who_left_or_are_late() -> None:
    async def body(decoders) -> None:
        os.kill(decoders.pids[0], signal.SIGSTOP)
        busy = asyncio.create_task(decoders.decode(IMAGE, png(0)))
        await asyncio.sleep(0.05)
        now = asyncio.get_running_loop().time()
        late = asyncio.create_task(decoders.decode(IMAGE, png(1), deadline=now + 0.01))
        left = asyncio.create_task(decoders.decode(IMAGE, png(1)))
        good = asyncio.create_task(decoders.decode(IMAGE, png(2), deadline=now + 60))
        await asyncio.sleep(0.05)
        left.cancel()
        os.kill(decoders.pids[0], signal.SIGCONT)
        await asyncio.gather(busy, good)
        with pytest.raises(TimeoutError, match="deadline passed before decoding"):
            await late

    text = run(body).text()
    assert b'imp_stage_seconds_count{modality="image",stage="decode"} 2.0' in text


def test_a_flood_of_videos_does_not_starve_images() -> None:
    video = long_video(60)

    async def body(decoders) -> None:
        done: list[str] = []

        async def one(name, view, data) -> None:
            await decoders.decode(view, data)
            done.append(name)

        flood = [one("video", VideoView(frames=2, size=32, fps=2.0), video) for _ in range(12)]
        floods = [asyncio.create_task(call) for call in flood]
        await asyncio.sleep(0)
        await one("image", IMAGE, png(0))
        assert done.count("video") <= 2
        await asyncio.gather(*floods)

    run(body)


def test_a_worker_without_its_caller_ends() -> None:
    async def main() -> list[int]:
        decoders = Decoders(2, DecodeLimits(media=SERVICE_LIMITS), Metrics())
        await decoders.ready()
        pids = decoders.pids
        for process in list(decoders._processes.values()):
            process._socket.close()  # as the end of the server's process does
        for pid in pids:
            await asyncio.wait_for(asyncio.to_thread(os.waitpid, pid, 0), 10)
        for task in decoders._tasks:
            task.cancel()
        return pids

    assert len(asyncio.run(main())) == 2


def test_a_decoder_that_can_not_start_is_told(monkeypatch) -> None:
    async def main() -> None:
        decoders = Decoders(1, DecodeLimits(media=SERVICE_LIMITS), Metrics())
        with pytest.raises(OSError, match="a decoder ended before it was ready"):
            await decoders.ready()
        await decoders.close()

    monkeypatch.setattr("sys.executable", "/bin/false")
    asyncio.run(main())
    with pytest.raises(ValueError, match="give more than 0 s"):
        DecodeLimits(media=SERVICE_LIMITS, seconds=0)
