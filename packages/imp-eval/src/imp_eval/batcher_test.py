import asyncio
import threading

import numpy as np
import pytest

from imp_eval.batcher import Batcher, ComputeError, OverloadedError
from imp_eval.inference import Encoder, Pair

TEXT, IMAGE = ("text", "image"), ("image", "text")


class Recorder(Encoder):
    """The real encoder, with a note of every batch and a gate to hold it at."""

    def __init__(self, encoder: Encoder) -> None:
        self.__dict__.update(encoder.__dict__)
        self.batches: list[tuple[Pair, int]] = []
        self.gate = threading.Event()
        self.gate.set()

    def embed(self, modality, arrays, pair):
        assert self.gate.wait(20)
        self.batches.append((pair, len(arrays)))
        return super().embed(modality, arrays, pair)


@pytest.fixture
def recorder(encoder) -> Recorder:
    return Recorder(encoder)


def array(recorder: Recorder, pair) -> np.ndarray:
    view = recorder.views[pair[0]]
    return np.ones(view.shape, view.dtype)


def run(recorder: Recorder, body, **options) -> None:
    async def main() -> None:
        batcher = Batcher(recorder, **options)
        await body(batcher)
        await batcher.close()

    asyncio.run(main())


def test_callers_share_batches_and_full_ones_do_not_wait(recorder) -> None:
    async def body(batcher) -> None:
        start = asyncio.get_running_loop().time()
        calls = [batcher.embed(array(recorder, TEXT), TEXT) for _ in range(16)]
        rows = await asyncio.gather(*calls)
        assert all((row == rows[0]).all() for row in rows)
        assert asyncio.get_running_loop().time() - start < 20

    run(recorder, body, max_delay=60.0)
    assert recorder.batches == [(TEXT, 8), (TEXT, 8)]


def test_a_lone_item_leaves_after_the_delay(recorder) -> None:
    async def body(batcher) -> None:
        start = asyncio.get_running_loop().time()
        await batcher.embed(array(recorder, TEXT), TEXT)
        assert asyncio.get_running_loop().time() - start >= 0.05

    run(recorder, body, max_delay=0.05)


def test_the_bound_holds_until_items_are_answered(recorder) -> None:
    async def body(batcher) -> None:
        with batcher.admit({"image": 6}):
            with pytest.raises(OverloadedError, match="6 items of image are pending and 3 more"):
                with batcher.admit({"text": 1, "image": 3}):
                    pass
            with batcher.admit({"image": 2, "text": 8}):
                assert batcher.pending == {"image": 8, "text": 8}
        with batcher.admit({"image": 20}):  # an empty queue takes any request
            pass
        assert set(batcher.pending.values()) == {0}

    run(recorder, body, max_pending=8)


def test_what_would_take_too_long_is_refused_at_once(recorder) -> None:
    async def body(batcher) -> None:
        with batcher.admit({"text": 1}):
            await batcher.embed(array(recorder, TEXT), TEXT)
        with batcher.admit({"text": 8}):
            # Batches are known to take some time now: eight of them take longer than one.
            with pytest.raises(OverloadedError, match=r"this would take about .* over the bound"):
                with batcher.admit({"text": 8 * 10_000}):
                    pass
            with batcher.admit({"image": 8}):  # nothing is known of these yet
                pass

    run(recorder, body, max_delay=0.0, max_pending=10**6, max_wait=1.0)


def test_who_can_wait_gets_room_when_there_is_some(recorder) -> None:
    async def body(batcher) -> None:
        with batcher.admit({"image": 8}):
            waiting = asyncio.create_task(batcher.room({"image": 1}))
            await asyncio.sleep(0.01)
            assert not waiting.done()
        with await waiting:
            assert batcher.pending["image"] == 1
        assert batcher.pending["image"] == 0

    run(recorder, body, max_pending=8)


def test_no_work_is_spent_on_callers_who_left_or_are_late(recorder) -> None:
    async def body(batcher) -> None:
        recorder.gate.clear()
        first = asyncio.create_task(batcher.embed(array(recorder, TEXT), TEXT))
        await asyncio.sleep(0.05)  # the encoder is held with this one
        now = asyncio.get_running_loop().time()
        left = asyncio.create_task(batcher.embed(array(recorder, TEXT), TEXT))
        late = asyncio.create_task(batcher.embed(array(recorder, TEXT), TEXT, deadline=now + 0.01))
        patient = asyncio.create_task(batcher.embed(array(recorder, TEXT), TEXT, deadline=now + 60))
        await asyncio.sleep(0.05)
        left.cancel()
        recorder.gate.set()
        await asyncio.gather(first, patient)
        with pytest.raises(TimeoutError, match="deadline passed"):
            await late

    run(recorder, body, max_delay=0.0)
    assert recorder.batches == [(TEXT, 1), (TEXT, 1)]


def test_a_flood_of_one_modality_does_not_starve_another(recorder) -> None:
    async def body(batcher) -> None:
        recorder.gate.clear()
        flood = [
            asyncio.create_task(batcher.embed(array(recorder, IMAGE), IMAGE)) for _ in range(80)
        ]
        await asyncio.sleep(0.02)
        lone = asyncio.create_task(batcher.embed(array(recorder, TEXT), TEXT))
        await asyncio.sleep(0.02)
        recorder.gate.set()
        await asyncio.gather(lone, *flood)

    run(recorder, body, max_delay=0.0)
    assert [pair for pair, _ in recorder.batches].index(TEXT) <= 2
    assert sum(n for _, n in recorder.batches) == 81


def test_a_failing_batch_fails_its_callers_and_no_others(recorder) -> None:
    async def body(batcher) -> None:
        with pytest.raises(ComputeError, match="the encoder failed"):
            await batcher.embed(np.ones((1, 1), np.int32), TEXT)
        assert (await batcher.embed(array(recorder, TEXT), TEXT)).shape == (recorder.dim,)

    run(recorder, body, max_delay=0.0)


def test_close_answers_what_is_queued(recorder) -> None:
    async def main() -> None:
        batcher = Batcher(recorder, max_delay=60.0)
        waiting = asyncio.create_task(batcher.embed(array(recorder, TEXT), TEXT))
        await asyncio.sleep(0)
        await batcher.close()
        assert (await waiting).shape == (recorder.dim,)

    asyncio.run(main())
