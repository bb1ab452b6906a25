"""Limits: how wide, how fast, how long."""

import asyncio
import time
from collections.abc import Callable

import pytest
from tutelage.agents.endpoints.limits import Limits, Pace, Throttle, backoff
from tutelage.agents.providers.models import LONGEST_TIMEOUT


async def measured(throttle: Throttle, calls: int, seconds: float = 0.0, tokens: float = 0.0) -> list[float]:
    """When each of some calls began, after the first."""
    starts: list[float] = []

    async def one() -> None:
        async with throttle.turn(tokens) as began:
            starts.append(began)
            await asyncio.sleep(seconds)
        throttle.answered()

    await asyncio.gather(*(one() for _ in range(calls)))
    return [start - starts[0] for start in starts]


async def widest(throttle: Throttle, calls: int) -> int:
    """The most calls that were in flight at once."""
    flying = most = 0

    async def one() -> None:
        nonlocal flying, most
        async with throttle.turn(0):
            flying += 1
            most = max(most, flying)
            await asyncio.sleep(0.001)
            flying -= 1
        throttle.answered()

    await asyncio.gather(*(one() for _ in range(calls)))
    return most


def test_no_more_calls_are_in_flight_than_allowed() -> None:
    assert asyncio.run(widest(Throttle(Limits(concurrency=5)), 40)) == 5


def test_a_burst_of_429s_narrows_once_and_answers_widen_again() -> None:
    async def main() -> list[int]:
        throttle = Throttle(Limits(concurrency=16))
        begun = time.monotonic()
        for _ in range(10):  # all of calls that began before the first of them was refused
            throttle.failed(begun, busy=True, retry_after=None)
        widths = [await widest(throttle, 24)]  # 24 answers: one short of what widens
        throttle.answered()
        widths.append(await widest(throttle, 24))
        throttle.failed(time.monotonic(), busy=True, retry_after=None)
        throttle.failed(time.monotonic(), busy=True, retry_after=None)  # began after: another burst
        return [*widths, await widest(throttle, 20)]

    assert asyncio.run(main()) == [12, 13, 7]


def test_other_failures_do_not_narrow() -> None:
    throttle = Throttle(Limits(concurrency=8))
    for _ in range(5):
        throttle.failed(time.monotonic(), busy=False, retry_after=None)
    assert asyncio.run(widest(throttle, 20)) == 8


def test_it_never_narrows_below_one_call() -> None:
    throttle = Throttle(Limits(concurrency=2))
    for _ in range(20):
        throttle.failed(time.monotonic(), busy=True, retry_after=None)
    assert asyncio.run(widest(throttle, 4)) == 1


def test_after_a_retry_after_nobody_begins_until_it_is_over() -> None:
    async def main() -> float:
        throttle = Throttle(Limits())
        now = time.monotonic()
        throttle.failed(now, busy=True, retry_after=0.15)
        async with throttle.turn(0) as began:
            return began - now

    assert 0.15 <= asyncio.run(main()) < 1


@pytest.mark.parametrize(
    ("limits", "tokens"),
    [
        (Limits(concurrency=50, requests_per_minute=1200), 0.0),
        (Limits(concurrency=50, tokens_per_minute=120_000), 100.0),
    ],
    ids=["requests", "tokens"],
)
def test_calls_are_spread_over_the_minute_a_second_at_once(limits: Limits, tokens: float) -> None:
    # Twenty a second: the first second's worth at once, the other ten over half a second.
    starts = asyncio.run(measured(Throttle(limits), 31, tokens=tokens))
    assert max(starts[:20]) < 0.2
    assert 0.45 <= starts[30] < 1.5


def test_what_a_call_took_beyond_its_estimate_is_booked_too() -> None:
    async def main() -> float:
        throttle = Throttle(Limits(tokens_per_minute=60_000))
        async with throttle.turn(10) as first:
            pass
        throttle.answered(surplus=1300)
        async with throttle.turn(10) as second:
            return second - first

    assert 0.25 <= asyncio.run(main()) < 1


def test_one_that_gives_up_waiting_takes_no_place() -> None:
    async def main() -> int:
        throttle = Throttle(Limits(concurrency=1))

        async def hold(seconds: float) -> None:
            async with throttle.turn(0):
                await asyncio.sleep(seconds)

        first = asyncio.create_task(hold(0.05))
        await asyncio.sleep(0)
        waiting = [asyncio.create_task(hold(0)) for _ in range(3)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        await asyncio.gather(first, *waiting, return_exceptions=True)
        return await widest(throttle, 3)

    assert asyncio.run(main()) == 1


def failing(limits: Limits, seconds: float, *, answers: int = 0, times: int = 3) -> Callable[..., str | None]:
    """The question of a throttle that has seen failures over some seconds."""
    throttle = Throttle(limits)
    for _ in range(answers):
        throttle.answered()
    for i in range(times):
        throttle.failed(time.monotonic(), busy=False, retry_after=None)
        time.sleep(seconds / times if i < times - 1 else 0)
    return throttle.hopeless


@pytest.mark.parametrize(("seconds", "times", "hopeless"), [(0.3, 3, True), (0.3, 2, False), (0.0, 9, False)])
def test_it_is_given_up_after_enough_failures_over_a_long_enough_time(
    seconds: float, times: int, hopeless: bool
) -> None:
    why = failing(Limits(patience=0.15), seconds, times=times)(silent=False, retry_after=None)
    assert bool(why) == hopeless
    assert not why or "3 failures in a row" in why


def test_a_wait_beyond_the_patience_is_not_begun() -> None:
    hopeless = failing(Limits(patience=60), 0, times=1)
    assert hopeless(silent=False, retry_after=59) is None
    assert hopeless(silent=False, retry_after=3600) == (
        "it asks to wait 3,600 s, more than the `patience` of 60 s"
    )


def test_waits_grow_and_are_jittered() -> None:
    waits = [[backoff(tries) for _ in range(200)] for tries in (1, 2, 3, 20)]
    for found, longest in zip(waits, (0.5, 1, 2, 30), strict=True):
        assert longest / 2 <= min(found) < longest * 0.6
        assert longest * 0.9 < max(found) <= longest


def test_a_call_may_take_the_time_of_its_longest_reply_but_not_for_ever() -> None:
    pace = Pace(10.0)
    assert pace.limit(3000) == 10.0, "nothing is known yet"
    pace.answered(200, 2.0)
    assert pace.limit(500) == 10.0
    assert pace.limit(3000) == pytest.approx(1.5 * 3000 / 100)
    assert pace.limit(3000, slow=1) == LONGEST_TIMEOUT * 10.0 == pace.limit(10**6)
    for _ in range(30):
        pace.answered(20, 2.0)
    assert pace.limit(300) == pytest.approx(1.5 * 300 / 10, rel=0.1), "what was faster before has faded"
