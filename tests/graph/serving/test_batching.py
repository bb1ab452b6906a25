"""The queue: texts are predicted together, and requests do not disturb one another."""

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest
from tutelage.graph.serving.batching import Batcher
from tutelage.graph.serving.refused import Refused


class Predictor:
    """Write texts in capitals; it waits while `gate` is closed. It fails on "bad", and on "panic" as a Rust
    library does.
    """

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, texts: list[str]) -> list[str]:
        self.batches.append(texts)
        assert self.gate.wait(10)
        if "bad" in texts:
            raise ValueError("a bad text")
        if "panic" in texts:
            raise BaseException("a panic")
        return [text.upper() for text in texts]


@asynccontextmanager
async def working(
    predictor: Predictor, size: int = 4, queue: int = 8
) -> AsyncIterator[tuple[Batcher[str], list[int]]]:
    sizes: list[int] = []
    batcher = Batcher(predictor, size=size, queue=queue, watch=sizes.append)
    batcher.start()
    try:
        yield batcher, sizes
    finally:
        predictor.gate.set()
        await batcher.close()


async def begun(batcher: Batcher[str], *texts: str) -> "asyncio.Task[list[str]]":
    """Start a request, and return when its texts are in the queue or being predicted."""
    task = asyncio.ensure_future(batcher.results(texts))
    await asyncio.sleep(0.02)
    return task


async def held(predictor: Predictor, batcher: Batcher[str]) -> "asyncio.Task[list[str]]":
    """Start a request that is being predicted until the gate opens."""
    predictor.gate.clear()
    task = await begun(batcher, "first")
    while not predictor.batches:
        await asyncio.sleep(0.01)
    return task


def test_requests_that_wait_are_predicted_together_in_their_order() -> None:
    async def check() -> None:
        predictor = Predictor()
        async with working(predictor) as (batcher, sizes):
            first = await held(predictor, batcher)
            others = [await begun(batcher, *texts) for texts in ("ab", "c", "def")]
            assert batcher.waiting == 6
            predictor.gate.set()
            assert await asyncio.gather(first, *others) == [["FIRST"], ["A", "B"], ["C"], ["D", "E", "F"]]
            assert predictor.batches == [["first"], ["a", "b", "c", "d"], ["e", "f"]]
            assert sizes == [1, 4, 2]
            assert batcher.waiting == 0

    asyncio.run(check())


def test_a_text_that_fails_fails_only_its_own_request() -> None:
    async def check() -> None:
        predictor = Predictor()
        async with working(predictor) as (batcher, _):
            first = await held(predictor, batcher)
            others = [await begun(batcher, *texts) for texts in (["a"], ["b", "bad"], ["c"])]
            predictor.gate.set()
            found = await asyncio.gather(first, *others, return_exceptions=True)
            assert [found[0], found[1], found[3]] == [["FIRST"], ["A"], ["C"]]
            assert str(found[2]) == "a bad text"
            assert await batcher.results(["later"]) == ["LATER"]

    asyncio.run(check())


def test_a_panic_fails_only_its_own_request_and_stops_no_worker() -> None:
    async def check() -> None:
        async with working(Predictor()) as (batcher, _):
            with pytest.raises(RuntimeError, match="a panic"):
                await asyncio.wait_for(batcher.results(["panic"]), 5)
            assert await asyncio.wait_for(batcher.results(["later"]), 5) == ["LATER"]

    asyncio.run(check())


@pytest.mark.parametrize("waiting", [True, False], ids=["while it waits", "while it is predicted"])
def test_a_cancelled_request_breaks_no_other(waiting: bool) -> None:
    async def check() -> None:
        predictor = Predictor()
        async with working(predictor) as (batcher, _):
            first = await held(predictor, batcher)
            gone = await begun(batcher, "x", "y") if waiting else first
            other = await begun(batcher, "a")
            gone.cancel()
            await asyncio.gather(gone, return_exceptions=True)
            assert batcher.waiting == 1
            predictor.gate.set()
            assert await other == ["A"]
            assert predictor.batches == [["first"], ["a"]]

    asyncio.run(check())


def test_when_every_waiting_request_leaves_the_next_is_answered() -> None:
    async def check() -> None:
        predictor = Predictor()
        async with working(predictor) as (batcher, _):
            first = await held(predictor, batcher)
            gone = await begun(batcher, "x")
            gone.cancel()
            predictor.gate.set()
            assert await first == ["FIRST"]
            assert await batcher.results(["a"]) == ["A"]

    asyncio.run(check())


def test_a_full_queue_refuses_whole_requests_until_it_has_room() -> None:
    async def check() -> None:
        predictor = Predictor()
        async with working(predictor, queue=3) as (batcher, _):
            first = await held(predictor, batcher)
            second = await begun(batcher, "a", "b")
            with pytest.raises(Refused, match="2 texts wait already, and 3 may") as refused:
                await batcher.results(["c", "d"])
            assert (refused.value.status, refused.value.retry_after) == (503, 1)
            third = await begun(batcher, "c")
            predictor.gate.set()
            assert await asyncio.gather(first, second, third) == [["FIRST"], ["A", "B"], ["C"]]

    asyncio.run(check())


def test_a_missing_result_is_an_error_not_an_endless_wait() -> None:
    def drop(texts: Sequence[str]) -> list[str]:
        return list(texts)[1:]

    async def check() -> None:
        batcher = Batcher(drop, size=4, queue=8)
        batcher.start()
        with pytest.raises(RuntimeError, match="0 predictions for 1 texts"):
            await asyncio.wait_for(batcher.results(["a", "b"]), 10)
        await batcher.close()

    asyncio.run(check())
